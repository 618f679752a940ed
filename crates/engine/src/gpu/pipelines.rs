//! Compute pipelines, one for each kernel, slots and constants; made in parallel, and kept on disk where wgpu can.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use crate::error::{Error, Result};
use crate::gpu::device::Device;
use crate::gpu::link::{Slots, linked};
use crate::replace::Replacement;

/// What tells pipelines apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The stem of the kernel's file.
    pub kernel: &'static str,
    /// What its slots stand for.
    pub slots: Slots,
    /// Its numbers, as bits, because floats are no keys.
    constants: Vec<(&'static str, u64)>,
}

impl Key {
    /// A key. Fails where a number that the kernel takes is not given, one is given that it does not take, or one is given twice:
    /// a misspelt number would be silently another.
    pub fn new(kernel: &'static str, slots: Slots, constants: &[(&'static str, f64)]) -> Result<Key> {
        let linked = linked(kernel, slots).map_err(Error::Other)?;
        let mut kept: Vec<_> = constants.iter().map(|&(n, v)| (n, v.to_bits())).collect();
        kept.sort_unstable();
        if let Some(twice) = kept.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::Other(format!("kernel {kernel}: the plan gives {} twice", twice[0].0)));
        }
        let given = |name: &str| constants.iter().any(|(n, _)| *n == name);
        if let Some(missing) = linked.numbers.iter().find(|name| !given(name)) {
            return Err(Error::Other(format!("kernel {kernel}: the plan does not set {missing}")));
        }
        if let Some((surplus, _)) = constants.iter().find(|(n, _)| !linked.numbers.iter().any(|r| r == n)) {
            return Err(Error::Other(format!("kernel {kernel}: it takes no {surplus}, which the plan sets")));
        }
        Ok(Key { kernel, slots, constants: kept })
    }
}

/// A pipeline of a device, which may be yet to be made: what binds buffers for it needs its layout alone.
#[derive(Clone)]
pub struct Pipeline(Arc<Planned>);

struct Planned {
    key: Key,
    groups: Vec<wgpu::BindGroupLayout>,
    layout: wgpu::PipelineLayout,
    made: OnceLock<wgpu::ComputePipeline>,
}

impl Pipeline {
    /// The pipeline of a key: the same for all who ask for it.
    pub fn of(device: &Device, key: Key) -> Result<Pipeline> {
        let mut kept = device.pipelines.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(pipeline) = kept.get(&key) {
            return Ok(pipeline.clone());
        }
        let (groups, layout) = layout(device, &key)?;
        let pipeline =
            Pipeline(Arc::new(Planned { key: key.clone(), groups, layout, made: OnceLock::new() }));
        kept.insert(key, pipeline.clone());
        Ok(pipeline)
    }

    /// The layout of one of its groups of bindings.
    pub fn group(&self, index: usize) -> &wgpu::BindGroupLayout {
        &self.0.groups[index]
    }

    /// The kernel's name.
    pub fn kernel(&self) -> &'static str {
        self.0.key.kernel
    }

    /// What a pass is given. [`make`] was called for it.
    pub fn made(&self) -> &wgpu::ComputePipeline {
        let made = self.0.made.get();
        made.unwrap_or_else(|| panic!("{} runs before its pipeline is made", self.kernel()))
    }
}

/// A pipeline that is run at once.
pub async fn made(device: &Device, key: Key) -> Result<Pipeline> {
    let pipeline = Pipeline::of(device, key)?;
    make(device, [&pipeline])?;
    device.settled().await?;
    Ok(pipeline)
}

/// Makes those that are not made yet, on as many threads as there are cores.
pub fn make<'a>(device: &Device, pipelines: impl IntoIterator<Item = &'a Pipeline>) -> Result<()> {
    let mut seen = HashSet::new();
    let wanted: Vec<&Planned> = pipelines
        .into_iter()
        .map(|pipeline| &*pipeline.0)
        .filter(|planned| planned.made.get().is_none() && seen.insert(*planned as *const Planned))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let start = Instant::now();
    let cache = DiskCache::open(device);
    make_all(device, &cache, wanted)?;
    cache.save();
    device.pipelines_us.fetch_add(start.elapsed().as_micros() as u64, Ordering::Relaxed);
    Ok(())
}

fn make_all(device: &Device, cache: &DiskCache, wanted: Vec<&Planned>) -> Result<()> {
    let mut modules: HashMap<(&str, Slots), wgpu::ShaderModule> = HashMap::new();
    for Planned { key, .. } in &wanted {
        if let Entry::Vacant(place) = modules.entry((key.kernel, key.slots)) {
            place.insert(module(device, key)?);
        }
    }
    let queue = Mutex::new(wanted.into_iter());
    let outcome = Mutex::new(Ok(()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(|| {
                while let Some(planned) = queue.lock().ok().and_then(|mut q| q.next()) {
                    let module = &modules[&(planned.key.kernel, planned.key.slots)];
                    match pipeline(device, module, planned, cache.handle()) {
                        Ok(made) => drop(planned.made.set(made)),
                        Err(e) => {
                            if let Ok(mut outcome) = outcome.lock() {
                                *outcome = Err(e);
                            }
                            return;
                        }
                    }
                }
            });
        }
    });
    outcome.into_inner().unwrap_or_else(|e| e.into_inner())
}

fn module(device: &Device, key: &Key) -> Result<wgpu::ShaderModule> {
    let mut text = linked(key.kernel, key.slots).map_err(Error::Other)?.text.clone();
    if let Some((kernel, from, to)) = device.mutation
        && kernel == key.kernel
        && text.contains(from)
    {
        text = text.replace(from, to);
        device.mutated.store(true, Ordering::Relaxed);
    }
    let desc = wgpu::ShaderModuleDescriptor {
        label: Some(key.kernel),
        source: wgpu::ShaderSource::Wgsl(text.into()),
    };
    let scope = device.device.push_error_scope(wgpu::ErrorFilter::Validation);
    let module = if device.checked {
        device.device.create_shader_module(desc)
    } else {
        // SAFETY: the kernels index within what is bound and their loops end, for any input: the tests run them checked
        // and unchecked, with guard words around every result.
        unsafe { device.device.create_shader_module_trusted(desc, wgpu::ShaderRuntimeChecks::unchecked()) }
    };
    let (name, kernel) = (device.info.name.clone(), key.kernel);
    device.settle(scope, move |e| Error::Device(format!("{name}: kernel {kernel} is refused: {e}")))?;
    Ok(module)
}

fn pipeline(
    device: &Device,
    module: &wgpu::ShaderModule,
    Planned { key, layout, .. }: &Planned,
    cache: Option<&wgpu::PipelineCache>,
) -> Result<wgpu::ComputePipeline> {
    let constants: Vec<(&str, f64)> = key.constants.iter().map(|&(n, v)| (n, f64::from_bits(v))).collect();
    let scope = device.device.push_error_scope(wgpu::ErrorFilter::Validation);
    let pipeline = device.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(key.kernel),
        layout: Some(layout),
        module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &constants,
            zero_initialize_workgroup_memory: false,
        },
        cache,
    });
    let of = format!("{}: kernel {} with {constants:?}", device.info.name, key.kernel);
    device.settle(scope, move |e| Error::Device(format!("{of} is refused: {e}")))?;
    Ok(pipeline)
}

/// The layout of what a kernel declares, used or not: wgpu's own would leave out what is not.
fn layout(device: &Device, key: &Key) -> Result<(Vec<wgpu::BindGroupLayout>, wgpu::PipelineLayout)> {
    let linked = linked(key.kernel, key.slots).map_err(Error::Other)?;
    let bindings = &linked.bindings;
    let count = bindings.last().map_or(0, |&(group, ..)| group + 1);
    let groups: Vec<wgpu::BindGroupLayout> = (0..count)
        .map(|group| {
            let of_group = bindings.iter().filter(|(g, ..)| *g == group);
            let entries: Vec<wgpu::BindGroupLayoutEntry> = of_group
                .map(|&(_, binding, read_only)| wgpu::BindGroupLayoutEntry {
                    binding,
                    visibility: wgpu::ShaderStages::COMPUTE,
                    ty: wgpu::BindingType::Buffer {
                        ty: wgpu::BufferBindingType::Storage { read_only },
                        has_dynamic_offset: false,
                        min_binding_size: None,
                    },
                    count: None,
                })
                .collect();
            let desc = wgpu::BindGroupLayoutDescriptor { label: Some(key.kernel), entries: &entries };
            device.device.create_bind_group_layout(&desc)
        })
        .collect();
    let all: Vec<Option<&wgpu::BindGroupLayout>> = groups.iter().map(Some).collect();
    let layout = device.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(key.kernel),
        bind_group_layouts: &all,
        immediate_size: 0,
    });
    Ok((groups, layout))
}

/// wgpu's pipeline cache in the user's cache folder. Without one everything works, only slower, so that nothing here fails.
///
/// The file is a checksum (8 bytes) and wgpu's data. Its name says the device, its driver and the driver's version.
struct DiskCache {
    cache: Option<wgpu::PipelineCache>,
    file: Option<PathBuf>,
    /// Bytes of the data that the driver took.
    held: usize,
}

/// Larger files are not ours.
const MOST_CACHE: u64 = 1 << 28;

impl DiskCache {
    fn open(device: &Device) -> DiskCache {
        let none = DiskCache { cache: None, file: None, held: 0 };
        if !device.device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return none;
        }
        let Some(key) = wgpu::util::pipeline_cache_key(&device.adapter) else { return none };
        let name = format!("{key}_{:016x}", driver_hash(device));
        let file = cache_folder().map(|f| f.join(name));
        let data = file.as_deref().and_then(read_cache);
        let data = data.as_deref().map(|bytes| &bytes[CHECKSUM..]);
        let taken = data.and_then(|data| Some((create_cache(device, Some(data))?, data.len())));
        match taken {
            Some((cache, held)) => DiskCache { cache: Some(cache), file, held },
            None => DiskCache { cache: create_cache(device, None), file, held: 0 },
        }
    }

    fn handle(&self) -> Option<&wgpu::PipelineCache> {
        self.cache.as_ref()
    }

    /// Replaces the file where there is more to keep than it holds, or where the driver did not take what it holds.
    fn save(&self) {
        let (Some(cache), Some(file)) = (&self.cache, &self.file) else { return };
        let Some(data) = cache.get_data().filter(|d| d.len() > self.held) else { return };
        // A pipe or a device in its place is replaced as well: written, it would hang.
        if fs::metadata(file).is_ok_and(|about| !about.is_file()) {
            let _ = fs::remove_file(file);
        }
        let write = || -> io::Result<()> {
            file.parent().map_or(Ok(()), fs::create_dir_all)?;
            let mut out = Replacement::create(file)?;
            out.write_all(&hash(&[&data]).to_le_bytes())?;
            out.write_all(&data)?;
            out.finish()
        };
        let _ = write();
    }
}

fn driver_hash(device: &Device) -> u64 {
    let wgpu::AdapterInfo { driver, driver_info, .. } = &device.adapter;
    hash(&[driver.as_bytes(), driver_info.as_bytes()])
}

/// A file beside the cache for something else that is known of a device with its driver.
pub fn beside_cache(device: &Device, what: &str) -> Option<PathBuf> {
    let wgpu::AdapterInfo { name, vendor, device: model, backend, .. } = &device.adapter;
    let adapter = format!("{name} {vendor} {model} {backend}");
    let name = format!("{what}_{:016x}_{:016x}", hash(&[adapter.as_bytes()]), driver_hash(device));
    cache_folder().map(|f| f.join(name))
}

/// wgpu's cache, with data in it; none where wgpu or the driver finds that they are another driver's.
fn create_cache(device: &Device, data: Option<&[u8]>) -> Option<wgpu::PipelineCache> {
    let scope = device.device.push_error_scope(wgpu::ErrorFilter::Validation);
    let desc = wgpu::PipelineCacheDescriptor { label: Some("wgllm"), data, fallback: false };
    // SAFETY: the data are whole, byte for byte what `save` wrote of a cache of a driver of this name and version (`read_cache`
    // compares their checksum), and wgpu compares the key that the driver itself gives to its caches.
    let cache = unsafe { device.device.create_pipeline_cache(&desc) };
    device.settle(scope, |e| Error::Other(e.to_string())).ok().map(|()| cache)
}

/// Bytes of the checksum before the data.
const CHECKSUM: usize = 8;

/// A file of the cache, if its checksum is right. A pipe is never opened: that would wait for a writer.
fn read_cache(file: &Path) -> Option<Vec<u8>> {
    fs::metadata(file).ok().filter(|about| about.is_file() && about.len() <= MOST_CACHE)?;
    let bytes = fs::read(file).ok()?;
    let (sum, data) = bytes.split_first_chunk::<CHECKSUM>()?;
    (u64::from_le_bytes(*sum) == hash(&[data])).then_some(bytes)
}

/// Other versions of Rust may hash otherwise: then the cache is made anew.
pub fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

fn cache_folder() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let base = if cfg!(target_os = "macos") {
        var("HOME").map(|h| h.join("Library/Caches"))
    } else if cfg!(windows) {
        var("LOCALAPPDATA")
    } else {
        var("XDG_CACHE_HOME").or_else(|| var("HOME").map(|h| h.join(".cache")))
    };
    base.map(|b| b.join("wgllm"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::link::{link, required};

    const SLOTS: Slots = Slots { keys: Some("f32"), values: Some("f32"), ..Slots::NONE };
    const NUMBERS: [(&str, f64); 4] =
        [("FACTOR", 0.5), ("STRIDE", 8.0), ("OUTPUT_ROWS", 0.0), ("WEIGHTED", 0.0)];

    fn refused(numbers: &[(&'static str, f64)]) -> String {
        Key::new("scale", SLOTS, numbers).unwrap_err().to_string()
    }

    #[test]
    fn a_plan_sets_every_number_that_a_kernel_takes_once_and_no_other() {
        Key::new("scale", SLOTS, &NUMBERS).unwrap();
        assert_eq!(refused(&NUMBERS[1..]), "kernel scale: the plan does not set FACTOR");
        let more = [&NUMBERS[..], &[("FACTORS", 8.0)]].concat();
        assert_eq!(refused(&more), "kernel scale: it takes no FACTORS, which the plan sets");
        let twice = [&NUMBERS[..], &NUMBERS[..1]].concat();
        assert_eq!(refused(&twice), "kernel scale: the plan gives FACTOR twice");
    }

    #[test]
    fn numbers_that_follow_from_others_are_not_set() {
        let text =
            link("attend_decode", Slots { copy: Some("none"), queries: Some("ready"), ..SLOTS }).unwrap();
        let names: Vec<&str> = required(&text).collect();
        assert!(names.contains(&"FOURS") && !names.contains(&"LINES"), "{names:?}");
    }
}
