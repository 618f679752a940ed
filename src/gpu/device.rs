//! Adapters: which there are, which is taken, what of it is used, and how its errors come back.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::backend::DeviceInfo;
use crate::blocking::block_on;
use crate::error::{Error, Result};
use crate::gpu::run::subgroup;
use crate::gpu::signal::Signal;

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

/// Bytes of a binding that every model needs at least.
const LEAST_BINDING: u64 = 16 << 10;

/// What of an adapter not to use: for tests, and for users with a broken driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masks {
    /// No subgroup operations.
    pub no_subgroups: bool,
    /// No matrix units.
    pub no_coop: bool,
    /// For tests: their kernels with plain arithmetic in place of matrix units.
    pub emulated_matrices: bool,
    /// The largest binding of a buffer, in bytes.
    pub max_binding: Option<u64>,
    /// For tests: a size of subgroups that the adapter names as its largest, whatever it has.
    pub claimed_subgroup: Option<u32>,
    /// The most workgroup memory, in bytes.
    pub max_workgroup: Option<u32>,
    /// Kernels with bounds checks, for tests.
    pub checked: bool,
    /// For tests: a software adapter is given the plans of hardware, so that it runs what users run.
    pub as_hardware: bool,
    /// For tests: a piece of a kernel's text, and what to put in its place, to see that a wrong kernel is noticed.
    pub mutation: Option<(&'static str, &'static str, &'static str)>,
}

/// Matrix units of an adapter, by the matrices that they multiply: f16 in, f32 out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matrix {
    /// 16 × 16.
    Sixteen,
    /// 8 × 8.
    Eight,
    /// None: plain arithmetic in their place, for tests.
    Emulated,
}

impl Matrix {
    /// The stem of its file in `wgsl/matrix/`.
    pub fn stem(self) -> &'static str {
        match self {
            Matrix::Sixteen => "sixteen",
            Matrix::Eight => "eight",
            Matrix::Emulated => "emulated",
        }
    }

    /// Rows and columns of a matrix.
    pub fn size(self) -> u32 {
        if self == Matrix::Eight { 8 } else { 16 }
    }

    /// Invocations that multiply a matrix together.
    pub fn subgroup(self, caps: &Caps) -> u32 {
        if self == Matrix::Emulated { 32 } else { caps.subgroup_size }
    }

    /// What an adapter offers that WGSL has words for. Subgroups must be of one size, and no smaller than 32.
    fn of(adapter: &wgpu::Adapter) -> Option<Matrix> {
        let info = adapter.get_info();
        let whole = info.subgroup_min_size == info.subgroup_max_size && info.subgroup_min_size >= 32;
        if !whole || !adapter.features().contains(Matrix::FEATURES) {
            return None;
        }
        let listed = adapter.cooperative_matrix_properties();
        let has = |size: u32| {
            listed.iter().any(|p| {
                [p.m_size, p.n_size, p.k_size] == [size; 3]
                    && p.ab_type == wgpu::CooperativeScalarType::F16
                    && p.cr_type == wgpu::CooperativeScalarType::F32
            })
        };
        // Metal has no matrices of 16, and naga would write them all the same.
        match info.backend {
            wgpu::Backend::Vulkan if has(16) => Some(Matrix::Sixteen),
            _ if has(8) => Some(Matrix::Eight),
            _ => None,
        }
    }

    const FEATURES: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
        .union(wgpu::Features::SHADER_F16)
        .union(wgpu::Features::SUBGROUP);
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

/// What the kernels may use of a device.
#[derive(Clone, Debug)]
pub struct Caps {
    /// Subgroup operations.
    pub subgroups: bool,
    /// Invocations of the largest subgroup: of a subgroup, or of what stands in for one.
    pub subgroup_size: u32,
    /// Whether all subgroups are of that size.
    pub subgroup_size_fixed: bool,
    /// Matrix units.
    pub matrix: Option<Matrix>,
    /// Invocations of a workgroup.
    pub invocations: u32,
    /// Whether it is a program: then work counts, where on hardware waiting does.
    pub software: bool,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Bytes of a binding.
    pub binding: u64,
    /// Bytes of a buffer.
    pub buffer: u64,
}

impl Caps {
    /// The number that kernels take whose invocations know their subgroup (`wgsl/lib/invocation_subgroup.wgsl`); 0: found out there.
    pub fn subgroup_constant(&self) -> Option<(&'static str, f64)> {
        let size = if self.subgroup_size_fixed { self.subgroup_size } else { 0 };
        self.subgroups.then_some(("SUBGROUP_SIZE", size as f64))
    }
}

/// An opened device.
pub struct Device {
    /// wgpu's device.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
    /// What it is.
    pub info: DeviceInfo,
    /// What kernels may use of it.
    pub caps: Caps,
    /// wgpu's own description, for the pipeline cache.
    pub adapter: wgpu::AdapterInfo,
    /// Whether kernels check their bounds.
    pub checked: bool,
    /// See [`Masks::mutation`].
    pub mutation: Option<(&'static str, &'static str, &'static str)>,
    made: AtomicU64,
    fault: Arc<Mutex<Option<Fault>>>,
    scopes: Mutex<Vec<Scope>>,
}

/// An error scope whose answer is still to come, and what its error means.
type Scope =
    (Pin<Box<dyn Future<Output = Option<wgpu::Error>> + Send>>, Box<dyn FnOnce(wgpu::Error) -> Error + Send>);

#[derive(Clone)]
enum Fault {
    Lost(String),
    Error(String),
}

impl Device {
    /// Fails if the device was lost or refused something since the last time.
    pub fn check(&self) -> Result<()> {
        // What was refused is told once; a device that is lost stays lost.
        let fault = self.fault.lock().map(|mut f| match &*f {
            Some(Fault::Lost(_)) => f.clone(),
            _ => f.take(),
        });
        let fault = fault.unwrap_or_default();
        let name = &self.info.name;
        match fault {
            None => Ok(()),
            Some(Fault::Lost(what)) => Err(Error::Lost(format!("{name} was lost: {what}"))),
            Some(Fault::Error(what)) => Err(Error::Other(format!("{name}: {what}"))),
        }
    }

    /// Waits for a callback that comes with a submission, or with the last one. Where a device is polled, callbacks run in here; in a browser
    /// polling does nothing, and its event loop runs them.
    pub async fn wait(&self, until: Option<wgpu::SubmissionIndex>, signal: Signal) -> Result<()> {
        let polled = self.device.poll(wgpu::PollType::Wait { submission_index: until, timeout: None });
        self.check()?;
        polled.map_err(|e| Error::Lost(format!("{}: {e}", self.info.name)))?;
        signal.await;
        self.check()
    }

    /// Waits for everything that was submitted.
    pub async fn finished(&self) -> Result<()> {
        self.wait(None, self.submitted()).await
    }

    /// What tells when everything is done that was submitted so far.
    pub fn submitted(&self) -> Signal {
        let signal = Signal::default();
        let done = signal.clone();
        self.queue.on_submitted_work_done(move || done.give());
        signal
    }

    /// Has the first `bytes` of a buffer mapped; what tells when they are, or cannot be.
    pub fn map(&self, buffer: &wgpu::Buffer, mode: wgpu::MapMode, bytes: u64) -> Signal {
        let signal = Signal::default();
        let done = signal.clone();
        buffer.map_async(mode, ..bytes, move |_| done.give());
        signal
    }

    /// The error of a scope, where it is known at once; where it comes later, [`Device::settled`] tells it.
    pub fn settle(
        &self,
        scope: wgpu::ErrorScopeGuard,
        means: impl FnOnce(wgpu::Error) -> Error + Send + 'static,
    ) -> Result<()> {
        let mut answer: Pin<Box<dyn Future<Output = Option<wgpu::Error>> + Send>> = Box::pin(scope.pop());
        match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(error) => error.map_or(Ok(()), |e| Err(means(e))),
            Poll::Pending => {
                let mut scopes = self.scopes.lock().unwrap_or_else(|e| e.into_inner());
                scopes.push((answer, Box::new(means)));
                Ok(())
            }
        }
    }

    /// Waits for what all error scopes tell, then fails like [`Device::check`].
    pub async fn settled(&self) -> Result<()> {
        let scopes = std::mem::take(&mut *self.scopes.lock().unwrap_or_else(|e| e.into_inner()));
        for (answer, means) in scopes {
            if let Some(e) = answer.await {
                return Err(means(e));
            }
        }
        self.check()
    }

    /// The number of buffers made so far.
    pub fn buffers_made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// A buffer; one that does not fit into the device's memory is an error.
    pub fn buffer(&self, label: &str, size: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        if size > self.caps.buffer {
            let most = self.caps.buffer;
            return Err(Error::OutOfMemory(format!(
                "{label} is {size} bytes; a buffer of {} holds {most}",
                self.info.name
            )));
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let size = size.max(16).next_multiple_of(4);
        let desc = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&desc);
        let full = format!("out of memory on {}: {label} needs {size} bytes more", self.info.name);
        self.settle(scope, |_| Error::OutOfMemory(full))?;
        self.made.fetch_add(1, Ordering::Relaxed);
        Ok(buffer)
    }
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

fn is_software(info: &wgpu::AdapterInfo) -> bool {
    info.device_type == wgpu::DeviceType::Cpu
}

fn describe(adapter: &wgpu::Adapter, masks: Masks) -> DeviceInfo {
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

async fn open(adapter: &wgpu::Adapter, masks: Masks) -> Result<Device> {
    let info = adapter.get_info();
    let mut wanted = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE;
    if !masks.no_subgroups {
        wanted |= wgpu::Features::SUBGROUP;
    }
    let matrix = Matrix::of(adapter).filter(|_| !masks.no_coop && !masks.no_subgroups);
    if matrix.is_some() {
        wanted |= Matrix::FEATURES;
    }
    let features = adapter.features() & wanted;
    // SAFETY: of what wgpu calls experimental only matrix units are used, only where the adapter lists them, by kernels that load and
    // store within what they declare and in control flow that is uniform.
    let experimental = unsafe { wgpu::ExperimentalFeatures::enabled() };
    let limits = adapter.limits();
    let request = adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("wgllm"),
        required_features: features,
        required_limits: limits.clone(),
        experimental_features: if matrix.is_some() { experimental } else { Default::default() },
        ..Default::default()
    });
    let refused = |e| Error::Device(format!("{} cannot be opened: {e}", info.name));
    let (device, queue) = request.await.map_err(refused)?;

    let fault = Arc::new(Mutex::new(None));
    let (lost, error) = (fault.clone(), fault.clone());
    device.set_device_lost_callback(move |reason, message| {
        if reason != wgpu::DeviceLostReason::Destroyed
            && let Ok(mut fault) = lost.lock()
        {
            *fault = Some(Fault::Lost(message));
        }
    });
    device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| {
        if let Ok(mut fault) = error.lock() {
            fault.get_or_insert(Fault::Error(e.to_string()));
        }
    }));
    let most = limits.max_storage_buffer_binding_size;
    let caps = Caps {
        subgroups: features.contains(wgpu::Features::SUBGROUP),
        subgroup_size: if features.contains(wgpu::Features::SUBGROUP) { info.subgroup_max_size } else { 32 },
        subgroup_size_fixed: info.subgroup_min_size == info.subgroup_max_size,
        matrix: matrix.or(masks.emulated_matrices.then_some(Matrix::Emulated)),
        invocations: limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
        software: is_software(&info) && !masks.as_hardware,
        workgroup_bytes: limits
            .max_compute_workgroup_storage_size
            .min(masks.max_workgroup.unwrap_or(u32::MAX)),
        binding: masks.max_binding.map_or(most, |m| m.min(most)),
        buffer: limits.max_buffer_size,
    };
    if caps.binding < LEAST_BINDING {
        return Err(Error::Usage(format!(
            "--max-binding {} is too small: give at least {LEAST_BINDING}",
            caps.binding
        )));
    }
    let mut opened = Device {
        device,
        queue,
        info: describe(adapter, masks),
        caps,
        adapter: info,
        checked: masks.checked,
        mutation: masks.mutation,
        made: AtomicU64::new(0),
        fault,
        scopes: Mutex::default(),
    };
    // The largest subgroup that an adapter names may be larger than any that it runs: plans go by what it runs.
    if opened.caps.subgroups && !opened.caps.subgroup_size_fixed {
        opened.caps.subgroup_size = subgroup::measure(&opened).await?;
    }
    if let Some(size) = masks.claimed_subgroup {
        (opened.caps.subgroup_size, opened.caps.subgroup_size_fixed) = (size, false);
    }
    Ok(opened)
}
