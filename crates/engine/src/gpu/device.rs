//! An opened device: its limits, its buffers, and how its errors come back.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::backend::DeviceInfo;
use crate::error::{Error, Result};
use crate::gpu::adapter::{describe, is_software};
use crate::gpu::caps::{Caps, Masks, Matrix};
use crate::gpu::pipelines::{Key, Pipeline};
use crate::gpu::plan::policy::Policy;
use crate::gpu::run::subgroup;
use crate::gpu::signal::Signal;
use crate::gpu::tuned;

/// Bytes of a binding that every model needs at least.
const LEAST_BINDING: u64 = 16 << 10;

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
    /// Why the table that was found for it is not used, where there is one that cannot be.
    pub untuned: Option<String>,
    /// Those that were planned for it: another plan finds what it has in common with the last one.
    pub pipelines: Mutex<HashMap<Key, Pipeline>>,
    /// How long making them took so far, in µs.
    pub pipelines_us: AtomicU64,
    /// Whether that changed any kernel's text.
    pub mutated: AtomicBool,
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

/// Opens an adapter with what is used of it.
pub async fn open(adapter: &wgpu::Adapter, masks: Masks) -> Result<Device> {
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
    let software = is_software(&info) && !masks.as_hardware;
    let caps = Caps {
        subgroups: features.contains(wgpu::Features::SUBGROUP),
        subgroup_size: if features.contains(wgpu::Features::SUBGROUP) { info.subgroup_max_size } else { 32 },
        subgroup_size_fixed: info.subgroup_min_size == info.subgroup_max_size,
        matrix: matrix.or(masks.emulated_matrices.then_some(Matrix::Emulated)),
        invocations: limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
        software,
        workgroup_bytes: limits
            .max_compute_workgroup_storage_size
            .min(masks.max_workgroup.unwrap_or(u32::MAX)),
        binding: masks.max_binding.map_or(most, |m| m.min(most)),
        buffer: limits.max_buffer_size,
        storage_buffers: limits.max_storage_buffers_per_shader_stage,
        policy: match masks.large {
            true => Policy { large: 0, large_blocks: 0, ..Policy::default_of(software) },
            false => Policy::default_of(software),
        },
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
        untuned: None,
        pipelines: Mutex::default(),
        pipelines_us: AtomicU64::new(0),
        mutated: AtomicBool::new(false),
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
    if !masks.no_tune {
        match tuned::read(&opened) {
            Ok(Some(policy)) => {
                opened.caps.policy = policy;
                opened.info.features.push("tuned".into());
            }
            Ok(None) => {}
            Err(what) => opened.untuned = Some(what),
        }
    }
    Ok(opened)
}
