//! What kernels may use of a device, and what of it is masked.

use crate::gpu::plan::policy::Policy;

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
    /// What `bench --tune` found for it.
    pub no_tune: bool,
    /// Kernels with bounds checks, for tests.
    pub checked: bool,
    /// For tests: a software adapter is given the plans of hardware, so that it runs what users run.
    pub as_hardware: bool,
    /// For tests, whose matrices are small: all of them are planned as large ones.
    pub large: bool,
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
    pub fn of(adapter: &wgpu::Adapter) -> Option<Matrix> {
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

    /// What a device is opened with to use them.
    pub const FEATURES: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
        .union(wgpu::Features::SHADER_F16)
        .union(wgpu::Features::SUBGROUP);
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
    /// Storage buffers of a kernel.
    pub storage_buffers: u32,
    /// Which kernels it does best with.
    pub policy: Policy,
}

impl Caps {
    /// The number that kernels take whose invocations know their subgroup (`wgsl/lib/invocation_subgroup.wgsl`); 0: found out there.
    pub fn subgroup_constant(&self) -> Option<(&'static str, f64)> {
        let size = if self.subgroup_size_fixed { self.subgroup_size } else { 0 };
        self.subgroups.then_some(("SUBGROUP_SIZE", size as f64))
    }
}
