//! Adapters: which there are, and which is taken.

use crate::backend::DeviceInfo;
use crate::blocking::block_on;
use crate::error::{Error, Result};
use crate::gpu::caps::{Masks, Matrix};
use crate::gpu::device::{Device, open};

/// A graphics API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Linux, Windows, Android.
    Vulkan,
    /// Macs.
    Metal,
    /// Windows.
    Dx12,
}

impl Api {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Api::Vulkan => "vulkan",
            Api::Metal => "metal",
            Api::Dx12 => "dx12",
        }
    }

    fn of(backend: wgpu::Backend) -> Option<Api> {
        match backend {
            wgpu::Backend::Vulkan => Some(Api::Vulkan),
            wgpu::Backend::Metal => Some(Api::Metal),
            wgpu::Backend::Dx12 => Some(Api::Dx12),
            _ => None,
        }
    }
}

/// An adapter as `wgllm devices` lists it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct AdapterLine {
    /// Its number, for `--device`: it counts the adapters of all APIs.
    pub index: usize,
    /// What it is.
    #[serde(flatten)]
    pub info: DeviceInfo,
}

fn instance() -> wgpu::Instance {
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    })
}

/// All adapters, hardware first; the order is their numbering.
async fn enumerate() -> Vec<wgpu::Adapter> {
    let mut all = instance().enumerate_adapters(wgpu::Backends::all()).await;
    all.retain(|a| Api::of(a.get_info().backend).is_some());
    all.sort_by_key(|a| rank(&a.get_info()));
    all
}

/// Smaller is better.
fn rank(info: &wgpu::AdapterInfo) -> u32 {
    let api = match info.backend {
        wgpu::Backend::Metal => 0,
        wgpu::Backend::Vulkan => 1,
        _ => 2,
    };
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    };
    kind * 3 + api
}

pub fn is_software(info: &wgpu::AdapterInfo) -> bool {
    info.device_type == wgpu::DeviceType::Cpu
}

pub fn describe(adapter: &wgpu::Adapter, masks: Masks) -> DeviceInfo {
    let (info, features) = (adapter.get_info(), adapter.features());
    let mut used = Vec::new();
    if features.contains(wgpu::Features::SUBGROUP) && !masks.no_subgroups {
        let (min, max) = (info.subgroup_min_size, info.subgroup_max_size);
        used.push(if min == max {
            format!("subgroups of {min}")
        } else {
            format!("subgroups of {min} to {max}")
        });
    }
    match Matrix::of(adapter).filter(|_| !masks.no_coop && !masks.no_subgroups) {
        Some(matrix) => used.push(format!("f16 matrices of {0} × {0}", matrix.size())),
        None if masks.emulated_matrices => used.push("emulated matrices".into()),
        None => {}
    }
    let driver = [info.driver.as_str(), info.driver_info.as_str()];
    DeviceInfo {
        name: info.name.clone(),
        api: Api::of(info.backend).map_or("unknown", Api::name).into(),
        driver: driver.iter().filter(|d| !d.is_empty()).copied().collect::<Vec<_>>().join(" "),
        features: used,
        software: is_software(&info),
    }
}

/// [`adapters_async`], on a thread that may wait.
pub fn adapters() -> Vec<AdapterLine> {
    block_on(adapters_async())
}

/// [`choose_async`], on a thread that may wait.
pub fn choose(api: Option<Api>, device: Option<&str>, masks: Masks) -> Result<Device> {
    block_on(choose_async(api, device, masks))
}

/// [`best_async`], on a thread that may wait.
pub fn best(masks: Masks) -> Result<Option<Device>> {
    block_on(best_async(masks))
}

/// All adapters here, as `devices` lists them.
pub async fn adapters_async() -> Vec<AdapterLine> {
    let line = |(index, a)| AdapterLine { index, info: describe(a, Masks::default()) };
    enumerate().await.iter().enumerate().map(line).collect()
}

/// The adapter that was asked for by API, by number or by a part of its name, or an error that lists those there are.
pub async fn choose_async(api: Option<Api>, device: Option<&str>, masks: Masks) -> Result<Device> {
    if device.is_some_and(|d| d.trim().is_empty()) {
        let what = "the device's name is empty; give a number of `wgllm devices` or a part of a name";
        return Err(Error::Usage(what.into()));
    }
    let all = enumerate().await;
    let of_api = |a: &wgpu::Adapter| api.is_none_or(|api| Api::of(a.get_info().backend) == Some(api));
    let wanted = |(index, a): &(usize, &wgpu::Adapter)| {
        let name = a.get_info().name.to_lowercase();
        of_api(a)
            && device.is_none_or(|d| match d.parse::<usize>() {
                Ok(number) => number == *index,
                Err(_) => name.contains(&d.to_lowercase()),
            })
    };
    match all.iter().enumerate().find(wanted) {
        Some((_, adapter)) => open(adapter, masks).await,
        None => Err(Error::Device(no_such(api, device, &all))),
    }
}

fn no_such(api: Option<Api>, device: Option<&str>, all: &[wgpu::Adapter]) -> String {
    let what = match (api, device) {
        (Some(api), None) => format!("no {} here", api.name()),
        (Some(api), Some(d)) => format!("no {} device \"{d}\" here", api.name()),
        (None, d) => format!("no device \"{}\" here", d.unwrap_or_default()),
    };
    if all.is_empty() {
        return format!("{what}; this machine has no adapter at all\nchoose -b cpu");
    }
    let line = |(index, a): (usize, &wgpu::Adapter)| {
        let d = describe(a, Masks::default());
        let software = if d.software { ", software" } else { "" };
        format!("  {:<7} {index}  {}{software}", d.api, d.name)
    };
    let lines: Vec<String> = all.iter().enumerate().map(line).collect();
    let first = describe(&all[0], Masks::default()).api;
    format!("{what}; this machine has\n{}\nchoose one with -b {first}, or -b cpu", lines.join("\n"))
}

/// The best hardware adapter, if there is one: never a software adapter.
pub async fn best_async(masks: Masks) -> Result<Option<Device>> {
    match enumerate().await.iter().find(|a| !is_software(&a.get_info())) {
        Some(adapter) => open(adapter, masks).await.map(Some),
        None => Ok(None),
    }
}
