//! That no bound is vacuous: a kernel with one number or one sign changed must not pass.

use libtest_mimic::Trial;
use wgllm::backend::Precision;
use wgllm::engine::Options;
use wgllm::gguf::Gguf;
use wgllm::gpu::Masks;

use crate::adapters::{HARDWARE, Target};
use crate::fixtures::fixtures;
use crate::run;
use crate::tiny_model::{Gpt2, Hybrid, Llama, gpt_oss, llama4, mistral3};

/// Kernel, what is in it, what is put in its place.
const MUTATIONS: &[(&str, &str, &str)] = &[
    ("rms_norm", "/ f32(COLS) + EPS", "/ f32(COLS) + 1.01 * EPS + 1e-3"),
    ("layer_norm", "x[start + c] - mean", "x[start + c] - 0.99 * mean"),
    ("matmul", "c0 += DEPTH", "c0 += DEPTH + 1u - 1u + DEPTH"),
    ("matmul", "sum += bias", "sum -= bias"),
    ("matvec", "EPS);", "EPS + 1e-2);"),
    ("matvec", "lanes + lane;", "lanes + lane / 2u * 2u;"),
    ("rope", "u * turn.x - v * turn.y", "u * turn.x + v * turn.y"),
    ("attend", "p0 + lane;", "p0 + lane + 1u;"),
    ("attend_decode", "return score_scale(position) * sum;", "return 1.02 * score_scale(position) * sum;"),
    ("attend_decode", "exp(subgroups[t].x - largest) * subgroups[t].y", "subgroups[t].y"),
    ("store", "value_place(page, row.z,", "value_place(page, row.z + 1u,"),
    ("heads", "= turned[i];", "= 1.01 * turned[i];"),
    ("attend_decode", "return start + unit * PAGE", "return start + (unit ^ 1u) * PAGE"),
    ("attend", "return start + unit * PAGE", "return start + (unit ^ 1u) * PAGE"),
    ("embed", "FIRST_ROW;", "FIRST_ROW + 1u;"),
    ("add", "a[i] + b[i]", "a[i] + 1.001 * b[i]"),
    ("gate", "activate(ACT, gates_of(gate[i]))", "gate[i]"),
    ("unary", "0.044715", "0.05"),
    ("embed", "127.0 / largest", "63.0 / largest"),
    ("copy", "127.0 / largest", "63.0 / largest"),
    ("select", "row * fours", "0u * fours"),
    ("short_conv", "TAPS - 1u - i;", "TAPS - 1u - min(i + 1u, TAPS - 1u);"),
    ("short_conv", "position % (TAPS - 1u)", "(position + 1u) % (TAPS - 1u)"),
    ("short_conv", "sum *= x[", "sum += 0.0 * x["),
    ("short_conv", "activate_one(ACT, sum)", "sum"),
    ("recurrent", "keep * s[t] + (of_k", "s[t] + (of_k"),
    ("recurrent", "v - keep * of_k * sums.x", "v - of_k * sums.x"),
    ("recurrent", "sums.w + EPS", "sums.w + 1e-2"),
    ("recurrent", "state[start + four] = s[t];", "state[start + four] = 1.01 * s[t];"),
    ("recurrent", "head % KEY_HEADS", "head / (HEADS / KEY_HEADS)"),
    ("recurrent", "rest = through[head] * v", "rest = 0.0"),
    ("recurrent", "+ bias[head]", "+ 0.0 * bias[head]"),
    ("recurrent", "exp(-b[n", "exp(-0.0 * b[n"),
    ("recurrent", "exp(decay[head] * size)", "exp(0.0 * decay[head] * size)"),
    ("short_conv", "sum = bias[c];", "sum = 0.0;"),
    ("short_conv", "2u * CHANNELS + c", "CHANNELS + c"),
    ("short_conv", "w[c * TAPS + i]", "w[c * TAPS + (TAPS - 1u - i)]"),
    ("recurrent", "step[1u + r].z > 0u", "step[1u + r].z > 100u"),
    ("recurrent_chunk", "product *= keeps[n];", ""),
    ("recurrent_chunk", "product *= keeps[n - 1u];", ""),
    ("recurrent_chunk", "* shares[n] * of_k(n)", "* of_k(n)"),
    ("recurrent_chunk", "until[own_row] = last * of_own", "until[own_row] = of_own"),
    ("recurrent_chunk", "SIDE + n] = -sum", "SIDE + n] = sum"),
    ("recurrent_chunk", "exp(-b[row", "exp(-0.0 * b[row"),
    ("recurrent_scan", "v - by_row * of_k", "v"),
    ("recurrent_scan", "o += through[head] * v;", ""),
    ("recurrent_scan", "s[0] *= keep;", ""),
    ("recurrent_scan", "head % KEY_HEADS, DELTA", "head / (HEADS / KEY_HEADS), DELTA"),
    ("recurrent_scan", "state[at] = s[i]", "state[at] = 1.01 * s[i]"),
    ("gated_norm", "if (GATE_FIRST == 1u)", "if (GATE_FIRST == 2u)"),
    ("gated_norm", "* activate_one(0u, z[start + c])", "* z[start + c]"),
    ("gated_norm", "group % WEIGHT_GROUPS", "0u"),
    ("part", "FIRST + n", "n"),
    ("matmul_int8", "min(u0 + t % CHUNK, units - 1u)", "min(u0, units - 1u)"),
    ("matmul_int8", "sum *= row_scales[share + i]", "sum *= row_scales[share]"),
    ("matmul_matrix", "c0 + DEPTH < COLS", "c0 + 2u * DEPTH < COLS"),
    ("matmul_matrix", "value += added;", "value -= added;"),
    ("matmul_matrix", "activate(ACT, gates_of(value))", "gates_of(value)"),
    ("matmul_few", "for (var s = 1u; s < SHARES; s++)", "for (var s = 2u; s < SHARES; s++)"),
    ("matmul_few", "activate(ACT, gates_of(value))", "gates_of(value)"),
    ("halves", "/ f32(COLS) + EPS", "/ f32(COLS) + 1.05 * EPS + 1e-2"),
    ("attend_matrix", "vec4(p0 + 4u * i)", "vec4(p0 + 4u * i + 1u)"),
    ("attend_matrix", "tile_put((PAGE + t / FOURS) * LINE", "tile_put((PAGE + (t / FOURS ^ 1u)) * LINE"),
    ("attend", "total = 1.0;", "total = 0.9;"),
    ("attend_decode", "total = exp(sink_of(h) - largest);", "total = 0.0;"),
    ("gate", "vec4<f32>(LIMIT)) + SHIFT", "vec4<f32>(LIMIT))"),
    ("attend", "last - last % max(CHUNK, 1u)", "0u"),
    ("attend_decode", "last - last % max(CHUNK, 1u)", "0u"),
    ("attend", "+ GROWTH_AHEAD", "+ GROWTH_AHEAD + 1u"),
    ("attend_decode", "GROWTH * log(1.0", "GROWTH * log(1.1"),
    ("heads", "return 1.0;", "return 1.01;"),
];
/// The same, and the golden model that comes to it.
const OF_MODELS: &[(&str, &str, &str, &str)] = &[
    ("heads", "head[i] * scale, VALUE_NORM", "head[i], VALUE_NORM", "gemma4"),
    ("heads", "select(0u, KV_HEADS, is_value && SHARED == 1u)", "0u", "gemma4"),
    ("norm_add", "value *= factor[0];", "value *= 1.01 * factor[0];", "gemma4"),
    ("gate_halves", "up_of(x[at + STRETCH])", "up_of(x[at])", "gemma4-moe"),
    ("route", "weight *= factors[e];", "", "gemma4-moe"),
    ("group_matvec", "COLS + n - N;", "n - N;", "deepseek3"),
    ("group_matvec", "(g - FIRST_GROUP) * N + n", "n", "deepseek3"),
    ("rms_norm", "if (c < COLS) {", "if (c < COLS + REST) {", "deepseek3"),
    ("rope", "start + FIRST +", "start +", "deepseek3"),
    ("expert_matvec", "sum *= route", "sum += 0.0 * route", "llama4"),
    ("combine", "WEIGHTED == 1u", "WEIGHTED == 2u", "gpt-oss"),
    ("matvec", "expert_weight = route[at + SHARES];", "expert_weight = 1.0;", "llama4"),
    ("matvec", "return route[route_at + STRETCHES + k];", "return 1.0;", "gpt-oss"),
    ("matvec", "weight_of(k) * bias[expert_row(k) + n]", "weight_of(k) * bias[n]", "gpt-oss"),
    ("matvec", "rows_of(n) - FIRST_ROW", "vec2<u32>(n, n)", "gpt-oss"),
    ("matvec", "* norm_weight[at]", "* norm_weight[0]", "gpt-oss"),
    ("matvec", "expert_row(k), k, unit", "expert_row(0u), k, unit", "qwen3moe"),
    ("attend_decode", "turned *= scale;", "turned *= 1.01 * scale;", "qwen3"),
    ("attend_decode", "own_weight * own_number(n)", "0.0 * own_number(n)", "gemma3"),
    ("attend_decode", "select(-turn.y, turn.y, second == 1u)", "turn.y", "gptneox"),
    ("attend_decode", "key_pack(turned,", "key_pack(1.01 * turned,", "qwen2"),
    ("attend_decode", "value_pack(turned,", "value_pack(1.01 * turned,", "qwen2"),
    ("attend_decode", "count = select(all, KV_HEADS * HEAD_DIM, which == 1u);", "", "olmo2"),
    ("attend_decode", "turned *= weights_of;", "", "hunyuan-dense"),
    ("attend_decode", "value /= 1.0 + exp(-gate_of(r, h, n));", "", "qwen35"),
    ("heads", "x[start + HEAD_DIM + i];", "x[start + i];", "qwen35"),
    ("heads", "WHOLE == 1u && !is_value", "WHOLE == 2u && !is_value", "olmo2"),
    ("embed", "value = FACTOR * unit", "value = unit", "gemma3"),
    ("matvec", "(FACTOR * scale())", "scale()", "granite"),
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

pub fn trials(target: &Target) -> Vec<Trial> {
    let llama: &'static [u8] = Llama { format: "Q8_0", head_dim: 32, ..Llama::default() }.file().leak();
    // Its heads are no whole blocks of a copy, so that attention leaves it to a kernel of its own.
    let narrow: &'static [u8] = Llama { format: "Q8_0", head_dim: 24, ..Llama::default() }.file().leak();
    let gpt2: &'static [u8] = Gpt2 { context: 128, ..Gpt2::default() }.file().leak();
    let [lfm2, qwen35, granite] = ["lfm2", "qwen35", "granitehybrid"]
        .map(|architecture| Hybrid { architecture, format: "Q8_0" }.file().leak());
    let small = || Llama { head_dim: 32, ..Llama::default() };
    let gpt_oss: &'static [u8] = gpt_oss(&small()).leak();
    let llama4: &'static [u8] = llama4(&Llama { layers: 4, ..small() }, 7).leak();
    let mistral3: &'static [u8] = mistral3(&small(), 4).leak();
    let trial = |&mutation: &(&'static str, &'static str, &'static str)| {
        let target = target.clone();
        let name = format!("{} with \"{}\" is noticed on {}", mutation.0, mutation.2, target.label);
        Trial::test(name, move || {
            // Few rows do not come to these.
            let matrix = ["matmul_matrix", "matmul_few", "attend_matrix", "halves"].contains(&mutation.0);
            let many = matrix
                || ["matmul", "recurrent_", "part"].iter().any(|of_many| mutation.0.starts_with(of_many));
            let rows = match mutation.0 {
                "matmul_matrix" => 280,
                _ if many => 81,
                _ => 9,
            };
            let no_coop = mutation.0 == "matmul_int8";
            let masks = Masks { mutation: Some(mutation), emulated_matrices: matrix, no_coop, ..HARDWARE };
            for (bytes, precision, unfused) in [
                (llama, Precision::Fast, false),
                (llama, Precision::F32, true),
                (narrow, Precision::Fast, false),
                (gpt2, Precision::F32, true),
                (gpt2, Precision::F32, false),
                (lfm2, Precision::Fast, false),
                (qwen35, Precision::Fast, false),
                (granite, Precision::Fast, false),
                (gpt_oss, Precision::F32, true),
                (gpt_oss, Precision::Fast, false),
                (llama4, Precision::F32, true),
                (llama4, Precision::Fast, false),
                (mistral3, Precision::F32, true),
                (mistral3, Precision::Fast, false),
            ] {
                let kernels =
                    ["short_conv", "recurrent", "recurrent_chunk", "recurrent_scan", "gated_norm", "part"];
                // Only hybrids come to their kernels, and to no others of their own.
                if kernels.contains(&mutation.0) != [lfm2, qwen35, granite].contains(&bytes) {
                    continue;
                }
                let options = Options { masks, unfused, ..target.options(precision) };
                if run(Gguf::from_static("tiny", bytes)?, &options, 160, rows)?.failed() > 0 {
                    return Ok(());
                }
            }
            Err("every node agreed".into())
        })
    };
    let of_model = |&(kernel, from, to, model): &(&'static str, &'static str, &'static str, &'static str)| {
        let (target, path) = (target.clone(), fixtures().join("models").join(model).join("model-f32.gguf"));
        let name = format!("{kernel} with \"{to}\" is noticed of {model} on {}", target.label);
        let ignored = !path.is_file();
        let noticed = move || {
            let masks = Masks { mutation: Some((kernel, from, to)), ..HARDWARE };
            for unfused in [false, true] {
                let options = Options { masks, unfused, ..target.options(Precision::F32) };
                if run(Gguf::open(&path)?, &options, 500, 9)?.failed() > 0 {
                    return Ok(());
                }
            }
            Err("every node agreed".into())
        };
        Trial::test(name, noticed).with_ignored_flag(ignored)
    };
    let of_experts =
        |&(kernel, from, to, model): &(&'static str, &'static str, &'static str, &'static str)| {
            let path = fixtures().join("models-quant").join(format!("{model}.gguf"));
            let target = target.clone();
            let name =
                format!("{kernel} with \"{to}\" is noticed of many rows of {model} on {}", target.label);
            let ignored = !path.is_file();
            let noticed = move || {
                let (mutation, no_coop) = (Some((kernel, from, to)), kernel == "matmul_int8");
                let masks = Masks { mutation, no_coop, emulated_matrices: !no_coop, ..HARDWARE };
                let options = Options { masks, ..target.options(Precision::Fast) };
                match run(Gguf::open(&path)?, &options, 500, 75)?.failed() {
                    0 => Err("every node agreed".into()),
                    _ => Ok(()),
                }
            };
            Trial::test(name, noticed).with_ignored_flag(ignored)
        };
    let models = OF_MODELS.iter().map(of_model).chain(OF_EXPERTS.iter().map(of_experts));
    MUTATIONS.iter().map(trial).chain(models).collect()
}
