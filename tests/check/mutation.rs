//! That no bound is vacuous: a kernel with one number or one sign changed must not pass.

use libtest_mimic::{Failed, Trial};
use wgllm::backend::Precision;
use wgllm::check::Report;
use wgllm::engine::Options;
use wgllm::gguf::Gguf;
use wgllm::gpu::Masks;

use crate::adapters::{HARDWARE, Target};
use crate::fixtures::fixtures;
use crate::gguf_file::GgufFile;
use crate::tiny_model::{Gpt2, Hybrid, Llama, gpt_oss, llama4, mistral3};
use crate::{first_of_each, run};

/// Kernel, what is in it, what is put in its place, and a model that comes to it.
const MUTATIONS: &[(&str, &str, &str, Tiny)] = &[
    ("rms_norm", "/ f32(COLS) + EPS", "/ f32(COLS) + 1.01 * EPS + 1e-3", Tiny::LlamaNodes),
    ("layer_norm", "x[start + c] - mean", "x[start + c] - 0.99 * mean", Tiny::Gpt2Nodes),
    ("matmul", "c0 += DEPTH", "c0 += DEPTH + 1u - 1u + DEPTH", Tiny::LlamaNodes),
    ("matmul", "sum += bias", "sum -= bias", Tiny::Gpt2Nodes),
    ("matmul_lanes", "r0 + at.local % 8u", "r0 + at.local % 4u", Tiny::LlamaNodes),
    ("matmul_lanes", "sums[k] + biases", "sums[k] - biases", Tiny::Gpt2Nodes),
    ("matvec", "EPS);", "EPS + 1e-2);", Tiny::Llama),
    ("matvec", "lanes + lane;", "lanes + lane / 2u * 2u;", Tiny::Llama),
    ("matvec", "first_row + own_rows + k", "first_row + k", Tiny::Blocks),
    ("rope", "u * turn.x - v * turn.y", "u * turn.x + v * turn.y", Tiny::LlamaNodes),
    ("attend", "p0 + lane;", "p0 + lane + 1u;", Tiny::LlamaNodes),
    ("attend_lanes", "let last = step[r].z;", "let last = step[r].z - 1u;", Tiny::LlamaNodes),
    ("attend_lanes", "(p0 + i) < ends", "(p0 + i) <= ends", Tiny::LlamaNodes),
    ("attend_lanes", "totals *= factors;", "", Tiny::LlamaNodes),
    ("attend_lanes", "totals = vec2<f32>(1.0);", "totals = vec2<f32>(0.9);", Tiny::GptOssNodes),
    ("attend_lanes", "last - last % max(CHUNK, 1u)", "0u", Tiny::Llama4Nodes),
    (
        "attend_decode",
        "return score_scale(position) * query_scale() * sum;",
        "return 1.02 * score_scale(position) * query_scale() * sum;",
        Tiny::Llama,
    ),
    ("attend_decode", "exp(subgroups[t].x - largest) * subgroups[t].y", "subgroups[t].y", Tiny::Llama),
    ("store", "value_place(page, row.z,", "value_place(page, row.z + 1u,", Tiny::LlamaNodes),
    ("heads", "= turned[i];", "= 1.01 * turned[i];", Tiny::Gpt2),
    ("attend_decode", "return start + unit * PAGE", "return start + (unit ^ 1u) * PAGE", Tiny::Llama),
    ("attend", "return start + unit * PAGE", "return start + (unit ^ 1u) * PAGE", Tiny::LlamaNodes),
    ("embed", "FIRST_ROW;", "FIRST_ROW + 1u;", Tiny::Llama),
    ("add", "a[i] + b[i]", "a[i] + 1.001 * b[i]", Tiny::LlamaNodes),
    ("gate", "activate(ACT, gates_of(gate[i]))", "gate[i]", Tiny::LlamaNodes),
    ("unary", "0.044715", "0.05", Tiny::Gpt2Nodes),
    ("embed", "127.0 / largest", "63.0 / largest", Tiny::Llama),
    ("copy", "127.0 / largest", "63.0 / largest", Tiny::Narrow),
    ("select", "row * fours", "0u * fours", Tiny::LlamaNodes),
    ("short_conv", "TAPS - 1u - i;", "TAPS - 1u - min(i + 1u, TAPS - 1u);", Tiny::Lfm2),
    ("short_conv", "position % (TAPS - 1u)", "(position + 1u) % (TAPS - 1u)", Tiny::Lfm2),
    ("short_conv", "sum *= x[", "sum += 0.0 * x[", Tiny::Lfm2),
    ("short_conv", "activate_one(ACT, sum)", "sum", Tiny::Qwen35),
    ("recurrent", "keep * s[t] + (of_k", "s[t] + (of_k", Tiny::Qwen35),
    ("recurrent", "v - keep * of_k * sums.x", "v - of_k * sums.x", Tiny::Qwen35),
    ("recurrent", "sums.w + EPS", "sums.w + 1e-2", Tiny::Qwen35),
    ("recurrent", "state[start + four] = s[t];", "state[start + four] = 1.01 * s[t];", Tiny::Qwen35),
    ("recurrent", "head % KEY_HEADS", "head / (HEADS / KEY_HEADS)", Tiny::Qwen35),
    ("recurrent", "rest = through[head] * v", "rest = 0.0", Tiny::Granite),
    ("recurrent", "+ bias[head]", "+ 0.0 * bias[head]", Tiny::Qwen35),
    ("recurrent", "exp(-b[n", "exp(-0.0 * b[n", Tiny::Qwen35),
    ("recurrent", "exp(decay[head] * size)", "exp(0.0 * decay[head] * size)", Tiny::Qwen35),
    ("short_conv", "sum = bias[c];", "sum = 0.0;", Tiny::Granite),
    ("short_conv", "2u * CHANNELS + c", "CHANNELS + c", Tiny::Lfm2),
    ("short_conv", "w[c * TAPS + i]", "w[c * TAPS + (TAPS - 1u - i)]", Tiny::Lfm2),
    ("recurrent", "step[1u + r].z > 0u", "step[1u + r].z > 100u", Tiny::Granite),
    ("delta_norm", "row.z > 0u", "row.z > 100u", Tiny::Qwen35),
    ("matvec", "sum += taps[n * TAPS + i]", "sum += taps[n * TAPS + TAPS - 1u - i]", Tiny::Qwen35),
    ("matvec", "state[place] = input;", "state[place] = 1.01 * input;", Tiny::Qwen35),
    ("delta_norm", "keep * s[t] + (of_k", "s[t] + (of_k", Tiny::Qwen35),
    ("delta_norm", "v - keep * of_k * sums.x", "v - of_k * sums.x", Tiny::Qwen35),
    ("delta_norm", "head % KEY_HEADS", "head / (HEADS / KEY_HEADS)", Tiny::Qwen35),
    ("delta_norm", "exp(-b[head])", "exp(-0.0 * b[head])", Tiny::Qwen35),
    ("delta_norm", "activate_one(0u, z[", "(z[", Tiny::Qwen35),
    ("delta_norm", "/ f32(ROWS) + EPS", "/ f32(ROWS) + EPS + 1e-2", Tiny::Qwen35),
    ("recurrent_chunk", "product *= keeps[n];", "", Tiny::Qwen35),
    ("recurrent_chunk", "product *= keeps[n - 1u];", "", Tiny::Qwen35),
    ("recurrent_chunk", "* shares[n] * of_k(n)", "* of_k(n)", Tiny::Qwen35),
    ("recurrent_chunk", "until[own_row] = last * of_own", "until[own_row] = of_own", Tiny::Qwen35),
    ("recurrent_chunk", "SIDE + n] = -sum", "SIDE + n] = sum", Tiny::Qwen35),
    ("recurrent_chunk", "exp(-b[row", "exp(-0.0 * b[row", Tiny::Qwen35),
    ("recurrent_scan", "v - by_row * of_k", "v", Tiny::Qwen35),
    ("recurrent_scan", "o += through[head] * v;", "", Tiny::Granite),
    ("recurrent_scan", "s[0] *= keep;", "", Tiny::Qwen35),
    ("recurrent_scan", "head % KEY_HEADS, DELTA", "head / (HEADS / KEY_HEADS), DELTA", Tiny::Qwen35),
    ("recurrent_scan", "state[at] = s[i]", "state[at] = 1.01 * s[i]", Tiny::Qwen35),
    ("gated_norm", "if (GATE_FIRST == 1u)", "if (GATE_FIRST == 2u)", Tiny::Granite),
    ("gated_norm", "* activate_one(0u, z[start + c])", "* z[start + c]", Tiny::Qwen35),
    ("gated_norm", "group % WEIGHT_GROUPS", "0u", Tiny::Granite),
    ("matmul_int8", "min(u0 + t % CHUNK, units - 1u)", "min(u0, units - 1u)", Tiny::Llama),
    ("matmul_int8", "sum *= row_scales[share + i]", "sum *= row_scales[share]", Tiny::Llama),
    ("matmul_matrix", "c0 + AHEAD * DEPTH < COLS", "c0 + 2u * AHEAD * DEPTH < COLS", Tiny::Llama),
    ("matmul_matrix", "value += added;", "value -= added;", Tiny::Llama),
    ("matmul_matrix", "activate(ACT, gates_of(value))", "gates_of(value)", Tiny::Llama),
    ("matmul_few", "for (var s = 1u; s < SHARES; s++)", "for (var s = 2u; s < SHARES; s++)", Tiny::Llama),
    ("matmul_few", "activate(ACT, gates_of(value))", "gates_of(value)", Tiny::Llama),
    ("halves", "/ f32(COLS) + EPS", "/ f32(COLS) + 1.05 * EPS + 1e-2", Tiny::Llama),
    ("attend_matrix", "vec4(p0 + 4u * i)", "vec4(p0 + 4u * i + 1u)", Tiny::Llama),
    (
        "attend_matrix",
        "tile_put((PAGE + t / FOURS) * LINE",
        "tile_put((PAGE + (t / FOURS ^ 1u)) * LINE",
        Tiny::Llama,
    ),
    ("attend", "total = 1.0;", "total = 0.9;", Tiny::GptOssNodes),
    ("attend_decode", "total = exp(sink_of(h) - largest);", "total = 0.0;", Tiny::GptOss),
    ("gate", "vec4<f32>(LIMIT)) + SHIFT", "vec4<f32>(LIMIT))", Tiny::GptOssNodes),
    ("attend", "last - last % max(CHUNK, 1u)", "0u", Tiny::Llama4Nodes),
    ("attend_decode", "last - last % max(CHUNK, 1u)", "0u", Tiny::Llama4),
    ("attend", "+ GROWTH_AHEAD", "+ GROWTH_AHEAD + 1u", Tiny::Mistral3Nodes),
    ("attend_decode", "GROWTH * log(1.0", "GROWTH * log(1.1", Tiny::Llama4),
    ("heads", "return 1.0;", "return 1.01;", Tiny::Llama4),
];
/// The same, and the golden model that comes to it.
const OF_MODELS: &[(&str, &str, &str, &str)] = &[
    ("part", "FIRST + n", "n", "qwen35"),
    ("heads", "head[i] * scale, VALUE_NORM", "head[i], VALUE_NORM", "gemma4"),
    ("heads", "select(0u, KV_HEADS, is_value && SHARED == 1u)", "0u", "gemma4"),
    ("norm_add", "value *= factor[0];", "value *= 1.01 * factor[0];", "gemma4"),
    ("matvec", "factor_of_sum = sum_factor[0];", "factor_of_sum = 1.01 * sum_factor[0];", "gemma4"),
    ("matvec", "GATE_STRIDE + FIRST_GATE + n", "GATE_STRIDE + n", "gemma4-e"),
    ("heads", "OWN * (1u + VALUES)", "(1u + VALUES)", "gemma4-e"),
    ("attend_decode", "row.z + 1u - OWN", "row.z", "gemma4-e"),
    ("gate_halves", "up_of(x[at + STRETCH])", "up_of(x[at])", "gemma4-moe"),
    ("route", "weight *= factors[e];", "", "gemma4-moe"),
    ("group_matvec", "COLS + n - N;", "n - N;", "deepseek3"),
    ("group_matvec", "(g - FIRST_GROUP) * N + n", "n", "deepseek3"),
    ("rms_norm", "if (c < COLS) {", "if (c < COLS + REST) {", "deepseek3"),
    ("rope", "start + FIRST +", "start +", "deepseek3"),
    ("expert_matvec", "sum *= route", "sum += 0.0 * route", "llama4"),
    ("combine", "WEIGHTED == 1u", "WEIGHTED == 2u", "gpt-oss"),
    ("matvec", "expert_weight = route[place + SHARES];", "expert_weight = 1.0;", "llama4"),
    ("matvec", "return route[route_at + STRETCHES + k];", "return 1.0;", "gpt-oss"),
    ("matvec", "weight_of(k) * bias[expert_row(k) + n]", "weight_of(k) * bias[n]", "gpt-oss"),
    ("matvec", "rows_of(n) - FIRST_ROW", "vec2<u32>(n, n)", "gpt-oss"),
    ("matvec", "* norm_weight[at]", "* norm_weight[0]", "gpt-oss"),
    ("matvec", "own_squares += dot(v, v);", "own_squares += 1.1 * dot(v, v);", "gpt-oss"),
    ("matvec", "expert_row(k), k, unit", "expert_row(0u), k, unit", "qwen3moe"),
    ("attend_decode", "return own_scales.x;", "return 1.01 * own_scales.x;", "qwen3"),
    ("attend_decode", "own_weight * own_number(n)", "0.0 * own_number(n)", "gemma3"),
    ("attend_decode", "select(-turn.y, turn.y, second == 1u)", "turn.y", "gptneox"),
    ("attend_decode", "key_pack(turned,", "key_pack(1.01 * turned,", "qwen2"),
    ("attend_decode", "value_pack(turned,", "value_pack(1.01 * turned,", "qwen2"),
    ("attend_decode", "f32(KV_HEADS * HEAD_DIM)", "f32(HEAD_DIM)", "olmo2"),
    ("attend_decode", "turned *= part.weights;", "", "hunyuan-dense"),
    ("attend_decode", "value /= 1.0 + exp(-gate_of(r, h, n));", "", "qwen35"),
    ("heads", "x[start + HEAD_DIM + i];", "x[start + i];", "qwen35"),
    ("heads", "WHOLE == 1u && !is_value", "WHOLE == 2u && !is_value", "olmo2"),
    ("embed", "value = FACTOR * unit", "value = unit", "gemma3"),
    ("matvec", "factor = FACTOR;", "factor = 1.0;", "granite"),
    ("matvec", "rest + scale * added", "rest + 1.01 * scale * added", "gemma3"),
    ("matvec", "squares += block_squares[b];", "squares += 1.01 * block_squares[b];", "gemma3"),
    ("matvec", "summed[four] = sum;", "summed[four] = 1.01 * sum;", "olmo2"),
    ("matvec", "lane_keys[i] = 0u;", "lane_keys[i] += 0u;", "qwen3moe"),
    ("matvec", "subgroupAdd(share) + NORM_EPS", "1.0", "mixtral"),
    ("attend_decode", "return sinks[h];", "return 1.01 * sinks[h];", "gpt-oss"),
];
/// The same of many rows of quantised models.
const OF_EXPERTS: &[(&str, &str, &str, &str)] = &[
    ("expert_tiles", "1u)] = i;", "1u)] = i ^ 1u;", "gpt-oss-MXFP4_MOE"),
    ("expert_tiles", "y[4u * tile] = e;", "y[4u * tile] = 0u;", "mixtral-Q4_0"),
    ("matmul_matrix", "return tile_expert * EXPERT_ROWS;", "return 0u;", "gpt-oss-MXFP4_MOE"),
    ("matmul_matrix", "return y_row(r) / X_SHARES;", "return 0u;", "mixtral-Q4_0"),
    ("matmul_matrix", "gates_of(value)", "value", "gpt-oss-MXFP4_MOE"),
    ("matmul_int8", "return tile_expert * EXPERT_ROWS;", "return 0u;", "qwen3moe-Q5_0"),
    ("matmul_int8", "x_row(min(r0 + t / CHUNK", "(min(r0 + t / CHUNK", "mixtral-Q8_0"),
    ("halves", "r % SHARES * (COLS / 4u)", "0u", "mixtral-Q4_0"),
    ("combine", "sum += residual", "sum -= residual", "mixtral-Q4_0"),
];

/// Kernel, what is in it, what is put in its place.
type Mutation = (&'static str, &'static str, &'static str);

pub fn trials(target: &Target) -> Vec<Trial> {
    let of_tiny = |&(kernel, from, to, tiny): &(&'static str, &'static str, &'static str, Tiny)| {
        let check = move |target: &Target, masks, unfused| checked(target, kernel, masks, tiny, unfused);
        trial(target, (kernel, from, to), "", vec![tiny.unfused()], check)
    };
    let of_model = |&(kernel, from, to, model): &(&'static str, &'static str, &'static str, &'static str)| {
        let path = fixtures().join("models").join(model).join("model-f32.gguf");
        let (of, is_there) = (format!(" of {model}"), path.is_file());
        let trial =
            trial(target, (kernel, from, to), &of, vec![false, true], move |target, masks, unfused| {
                let options = Options { masks, unfused, ..target.options(Precision::F32) };
                run(Gguf::open(&path)?, &options, 500, 9)
            });
        trial.with_ignored_flag(!is_there)
    };
    let of_experts =
        |&(kernel, from, to, model): &(&'static str, &'static str, &'static str, &'static str)| {
            let path = fixtures().join("models-quant").join(format!("{model}.gguf"));
            let (of, is_there) = (format!(" of many rows of {model}"), path.is_file());
            let trial = trial(target, (kernel, from, to), &of, vec![false], move |target, masks, unfused| {
                let no_coop = kernel == "matmul_int8";
                let masks = Masks { no_coop, emulated_matrices: !no_coop, ..masks };
                let options = Options { masks, unfused, ..target.options(Precision::Fast) };
                run(Gguf::open(&path)?, &options, 500, 75)
            });
            trial.with_ignored_flag(!is_there)
        };
    let tiny = MUTATIONS.iter().map(|mutation| (mutation.0, of_tiny(mutation)));
    let models = OF_MODELS.iter().map(|mutation| (mutation.0, of_model(mutation)));
    let experts = OF_EXPERTS.iter().map(|mutation| (mutation.0, of_experts(mutation)));
    let all = first_of_each(tiny.chain(models).chain(experts));
    all.into_iter().chain([of_whole_model(target), of_nothing(target)]).collect()
}

/// A trial that a changed kernel is noticed with fused groups or node by node, whichever of `unfused` come to it.
fn trial(
    target: &Target,
    mutation: Mutation,
    of: &str,
    unfused: Vec<bool>,
    check: impl Fn(&Target, Masks, bool) -> Result<Report, Failed> + Send + 'static,
) -> Trial {
    let (kernel, _, to) = mutation;
    let name = format!("{kernel} with \"{to}\" is noticed{of} on {}", target.label);
    let (target, masks) = (target.clone(), Masks { mutation: Some(mutation), ..HARDWARE });
    let test = move || {
        let (mut agreed, mut unchanged) = (false, None);
        for &unfused in &unfused {
            match check(&target, masks, unfused) {
                Ok(report) if report.failed() > 0 => return Ok(()),
                Ok(_) => agreed = true,
                Err(error) => unchanged = Some(error),
            }
        }
        Err(unchanged.filter(|_| !agreed).unwrap_or_else(|| "every node agreed".into()))
    };
    Trial::test(name, test)
}

/// A model made in memory, with as many rows as it takes to come to a kernel.
fn checked(target: &Target, kernel: &str, masks: Masks, tiny: Tiny, unfused: bool) -> Result<Report, Failed> {
    // Few rows do not come to these.
    let matrix = ["matmul_matrix", "matmul_few", "attend_matrix", "halves"].contains(&kernel);
    let lanes = kernel.ends_with("_lanes");
    let many = matrix || lanes || ["matmul", "recurrent_"].iter().any(|of_many| kernel.starts_with(of_many));
    let rows = match kernel {
        "matmul_matrix" => 280,
        _ if many => 81,
        // As many rows as share weights across a subgroup, of large matrices alone.
        _ if tiny == Tiny::Blocks => 4,
        _ => 9,
    };
    let masks = Masks {
        emulated_matrices: matrix,
        no_coop: kernel == "matmul_int8",
        as_hardware: !lanes,
        large: tiny == Tiny::Blocks,
        ..masks
    };
    let options = Options { masks, unfused, ..target.options(tiny.precision()) };
    run(Gguf::from_static("tiny", tiny.file().leak())?, &options, 160, rows)
}

/// The logits of the whole model notice by themselves what is a tenth off in each layer, although activations are rounded.
fn of_whole_model(target: &Target) -> Trial {
    let target = target.clone();
    Trial::test(
        format!("a tenth too little of each gate is seen in the logits on {}", target.label),
        move || {
            let gate = "activate_one(ACT, sum.x) * sum.y";
            let mutation = Some(("matvec", gate, "0.9 * activate_one(ACT, sum.x) * sum.y"));
            let report = checked(&target, "matvec", Masks { mutation, ..HARDWARE }, Tiny::Llama, false)?;
            match report.nodes.iter().any(|n| n.node == "logits, whole model" && !n.pass) {
                true => Ok(()),
                false => Err("the logits of the whole model agreed".into()),
            }
        },
    )
}

/// A change of a text that no kernel has is an error.
fn of_nothing(target: &Target) -> Trial {
    let target = target.clone();
    Trial::test(format!("a change that changes nothing is told on {}", target.label), move || {
        let masks = Masks { mutation: Some(("matvec", "no such text", "another")), ..HARDWARE };
        match checked(&target, "matvec", masks, Tiny::Llama, false) {
            Err(error) if error.message().is_some_and(|m| m.contains("nothing was changed")) => Ok(()),
            Err(error) => Err(error),
            Ok(report) => Err(format!("{} nodes failed, no error", report.failed()).into()),
        }
    })
}

/// A model made in memory, with fused groups, or in f32 node by node.
#[derive(Clone, Copy, PartialEq)]
enum Tiny {
    Llama,
    LlamaNodes,
    /// Of blocks with several scales.
    Blocks,
    /// Its heads are no whole blocks of a copy, so that attention leaves it to a kernel of its own.
    Narrow,
    Gpt2,
    Gpt2Nodes,
    Lfm2,
    Qwen35,
    Granite,
    GptOss,
    GptOssNodes,
    Llama4,
    Llama4Nodes,
    Mistral3Nodes,
}

impl Tiny {
    fn file(self) -> GgufFile {
        let small = Llama { head_dim: 32, ..Llama::default() };
        let hybrid = |architecture| Hybrid { architecture, format: "Q8_0" }.file();
        match self {
            Tiny::Llama | Tiny::LlamaNodes => Llama { format: "Q8_0", ..small }.file(),
            Tiny::Blocks => Llama { format: "Q4_K", head_dim: 64, ffn: 512, ..small }.file(),
            Tiny::Narrow => Llama { format: "Q8_0", head_dim: 24, ..Llama::default() }.file(),
            Tiny::Gpt2 | Tiny::Gpt2Nodes => Gpt2 { context: 128, ..Gpt2::default() }.file(),
            Tiny::Lfm2 => hybrid("lfm2"),
            Tiny::Qwen35 => hybrid("qwen35"),
            Tiny::Granite => hybrid("granitehybrid"),
            Tiny::GptOss | Tiny::GptOssNodes => gpt_oss(&small),
            Tiny::Llama4 | Tiny::Llama4Nodes => llama4(&Llama { layers: 4, ..small }, 7),
            Tiny::Mistral3Nodes => mistral3(&small, 4),
        }
    }

    fn unfused(self) -> bool {
        use Tiny::{Gpt2Nodes, GptOssNodes, Llama4Nodes, LlamaNodes, Mistral3Nodes};
        matches!(self, LlamaNodes | Gpt2Nodes | GptOssNodes | Llama4Nodes | Mistral3Nodes)
    }

    fn precision(self) -> Precision {
        match self {
            Tiny::Gpt2 => Precision::F32,
            _ if self.unfused() => Precision::F32,
            _ => Precision::Fast,
        }
    }
}
