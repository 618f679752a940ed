//! A linked kernel as naga sees it: validated with no more than its variant may use, with its numbers, and its HLSL.

use naga::back::{PipelineConstants, hlsl, hlsl::ShaderModel, pipeline_constants::process_overrides};
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{Module, ShaderStage};

/// A valid kernel.
pub struct Kernel {
    /// With its overrides replaced by numbers.
    pub module: Module,
    /// What the validator found.
    pub info: ModuleInfo,
    subgroups: bool,
    coop: bool,
}

impl Kernel {
    /// Parses and validates a text; the numbers are those of its overrides that have no default of their own to keep.
    pub fn new(text: &str, subgroups: bool, overrides: &PipelineConstants) -> Result<Kernel, String> {
        let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
        let coop = text.contains("enable wgpu_cooperative_matrix;");
        // unpack2x16float, which all of WebGPU has.
        let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
        capabilities.set(Capabilities::SHADER_FLOAT16, text.contains("enable f16;"));
        capabilities.set(Capabilities::COOPERATIVE_MATRIX, coop);
        let mut validator = Validator::new(ValidationFlags::all(), capabilities);
        if subgroups || coop {
            validator = Validator::new(ValidationFlags::all(), capabilities | Capabilities::SUBGROUP);
            validator.subgroup_stages(ShaderStages::COMPUTE).subgroup_operations(SubgroupOperationSet::all());
        }
        let info = validator.validate(&module).map_err(|e| e.emit_to_string(text))?;
        let entry = Some((ShaderStage::Compute, "main"));
        let (module, info) =
            process_overrides(&module, &info, entry, overrides).map_err(|e| e.to_string())?;
        Ok(Kernel { module: module.into_owned(), info: info.into_owned(), subgroups, coop })
    }

    /// What DX12 compiles it as: FXC knows 5.1 and no subgroups, DXC 6.4. HLSL has no cooperative matrices.
    pub fn shader_models(&self) -> &'static [ShaderModel] {
        match (self.coop, self.subgroups) {
            (true, _) => &[],
            (false, true) => &[ShaderModel::V6_4],
            (false, false) => &[ShaderModel::V5_1, ShaderModel::V6_4],
        }
    }

    /// Its HLSL, as the engine has it written: nothing checked, nothing cleared.
    pub fn hlsl(&self, shader_model: ShaderModel) -> Result<String, String> {
        let options = hlsl::Options {
            shader_model,
            restrict_indexing: false,
            force_loop_bounding: false,
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        };
        let (mut text, pipeline) = (String::new(), hlsl::PipelineOptions::default());
        let mut writer = hlsl::Writer::new(&mut text, &options, &pipeline);
        let found = writer.write(&self.module, &self.info, None).map_err(|e| e.to_string())?;
        for name in found.entry_point_names {
            name.map_err(|e| e.to_string())?;
        }
        Ok(text)
    }
}
