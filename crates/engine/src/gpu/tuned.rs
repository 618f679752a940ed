//! What `bench --tune` found for an adapter with its driver: a [`Policy`] in a file beside the pipelines.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::gpu::caps::Matrix;
use crate::gpu::device::Device;
use crate::gpu::pipelines::beside_cache;
use crate::gpu::plan::policy::Policy;
use crate::replace::Replacement;

/// Larger files are not ours.
const MOST: u64 = 64 << 10;
/// The version whose kernels were measured: others may do best with other numbers.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The file's content. Its name says the adapter and the driver as a number; here they are for people, and to be held to.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    wgllm: String,
    adapter: String,
    driver: String,
    policy: Policy,
}

/// Which file holds the table of a device, used as it is: one for each choice of matrix units and subgroups. None where there is no folder for caches.
pub fn file(device: &Device) -> Option<PathBuf> {
    let with = match (device.caps.matrix, device.caps.subgroups) {
        (Some(matrix), _) => Matrix::stem(matrix),
        (None, true) => "subgroups",
        (None, false) => "plain",
    };
    beside_cache(device, &format!("tuned_{with}"))
}

/// The table of a device, if there is one.
///
/// # Errors
/// What is wrong with the file, and what to do, where there is one that cannot be used.
pub fn read(device: &Device) -> Result<Option<Policy>, String> {
    let Some(file) = file(device) else { return Ok(None) };
    let Ok(about) = fs::metadata(&file) else { return Ok(None) };
    let policy = match about.is_file() && about.len() <= MOST {
        true => fs::read_to_string(&file).map_err(|e| e.to_string()).and_then(|text| parse(device, &text)),
        // A pipe is never opened: that would wait for a writer.
        false => Err("it is no file of ours".into()),
    };
    policy
        .map(Some)
        .map_err(|what| format!("{} is not used: {what}; `wgllm bench --tune` makes it anew", file.display()))
}

fn parse(device: &Device, text: &str) -> Result<Policy, String> {
    let kept: Kept = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let expected = [VERSION, &device.adapter.name, &driver(device)];
    let found = [&kept.wgllm, &kept.adapter, &kept.driver];
    for ((what, expected), found) in ["wgllm", "adapter", "driver"].into_iter().zip(expected).zip(found) {
        if found != expected {
            return Err(format!("it is for {what} {found:?}, and this is {expected:?}"));
        }
    }
    kept.policy.check()?;
    Ok(kept.policy)
}

/// Keeps a table for the next start, and says where.
///
/// # Errors
/// Where there is no folder for it, or it cannot be written.
pub fn keep(device: &Device, policy: &Policy) -> Result<PathBuf> {
    let no_folder =
        "there is no folder for caches: set HOME (or XDG_CACHE_HOME, or LOCALAPPDATA) to an absolute path";
    let file = file(device).ok_or_else(|| Error::Other(no_folder.into()))?;
    let kept = Kept {
        wgllm: VERSION.into(),
        adapter: device.adapter.name.clone(),
        driver: driver(device),
        policy: policy.clone(),
    };
    let text = serde_json::to_string_pretty(&kept).map_err(|e| Error::Other(e.to_string()))? + "\n";
    let named = |e: std::io::Error| Error::Other(format!("{}: {e}", file.display()));
    write(&file, &text).map_err(named)?;
    Ok(file)
}

fn write(file: &Path, text: &str) -> std::io::Result<()> {
    file.parent().map_or(Ok(()), fs::create_dir_all)?;
    if fs::metadata(file).is_ok_and(|about| !about.is_file() && !about.is_dir()) {
        fs::remove_file(file)?;
    }
    let mut out = Replacement::create(file)?;
    out.write_all(text.as_bytes())?;
    out.finish()
}

fn driver(device: &Device) -> String {
    let wgpu::AdapterInfo { driver, driver_info, .. } = &device.adapter;
    format!("{driver} {driver_info}").trim().into()
}
