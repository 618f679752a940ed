#!/usr/bin/env python3
"""Writes a GGUF of Qwen 3.5's shapes with random weights, for speed alone: recurrent layers, and attention every fourth.

    qwen35.py 9b|35b-a3b OUT.gguf [LAYERS]      (Q4_K, and Q6_K where Q4_K_M has it; needs numpy)
"""
import struct
import sys

import numpy as np

SHAPES = {
    "9b": dict(layers=32, hidden=4096, ffn=12288, heads=16, kv=4, v_heads=32),
    "35b-a3b": dict(layers=40, hidden=2048, heads=16, kv=2, v_heads=32, experts=256, used=8, expert_ffn=512),
}
HEAD, WIDTH, K_HEADS, TAPS, VOCAB, INTERVAL, CONTEXT = 256, 128, 16, 4, 248320, 4, 32768
F32, Q4_K, Q6_K = 0, 12, 14
BYTES = {Q4_K: 144, Q6_K: 210}  # of a block of 256


def blocks(kind, count, rng):
    """Random blocks whose weights spread by some 0.02."""
    raw = rng.integers(0, 256, (count, BYTES[kind]), dtype=np.uint8)
    scales = {Q4_K: [(0, 0.02 / 260), (2, 0.02 / 35)], Q6_K: [(208, 0.02 / 1370)]}[kind]
    for at, scale in scales:
        raw[:, at : at + 2] = np.full(count, scale, np.float16).view(np.uint8).reshape(count, 2)
    return raw.tobytes()


def tensors(s):
    """Name, dimensions as GGUF has them, type."""
    n, h, v = s["layers"], s["hidden"], s["v_heads"] * WIDTH
    q, kv, both = s["heads"] * HEAD, s["kv"] * HEAD, 2 * K_HEADS * WIDTH + v
    yield "token_embd.weight", (h, VOCAB), Q4_K
    for i in range(n):
        more = i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2
        better = Q6_K if more else Q4_K
        of = [("attn_norm.weight", (h,), F32), ("post_attention_norm.weight", (h,), F32)]
        if i % INTERVAL == INTERVAL - 1:
            of += [("attn_q.weight", (h, 2 * q), Q4_K), ("attn_k.weight", (h, kv), Q4_K), ("attn_v.weight", (h, kv), better)]
            of += [("attn_q_norm.weight", (HEAD,), F32), ("attn_k_norm.weight", (HEAD,), F32), ("attn_output.weight", (q, h), Q4_K)]
        else:
            of += [("attn_qkv.weight", (h, both), better), ("attn_gate.weight", (h, v), Q4_K), ("ssm_out.weight", (v, h), Q4_K)]
            of += [("ssm_beta.weight", (h, s["v_heads"]), Q4_K), ("ssm_alpha.weight", (h, s["v_heads"]), Q4_K)]
            of += [("ssm_conv1d.weight", (TAPS, both), F32), ("ssm_norm.weight", (WIDTH,), F32)]
            of += [("ssm_a", (s["v_heads"],), F32), ("ssm_dt.bias", (s["v_heads"],), F32)]
        for where, width, count in [("", s.get("ffn"), ()), ("_exps", s.get("expert_ffn"), (s.get("experts"),)), ("_shexp", s.get("expert_ffn"), ())]:
            if width and (where or "experts" not in s):
                of += [(f"ffn_{name}{where}.weight", (h, width, *count), Q4_K) for name in ("gate", "up")]
                of += [(f"ffn_down{where}.weight", (width, h, *count), better)]
        if "experts" in s:
            of += [("ffn_gate_inp.weight", (h, s["experts"]), F32), ("ffn_gate_inp_shexp.weight", (h,), F32)]
        yield from ((f"blk.{i}.{name}", dims, kind) for name, dims, kind in of)
    yield "output_norm.weight", (h,), F32
    yield "output.weight", (h, VOCAB), Q6_K


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def pair(key, value):
    kind, data = (8, text(value)) if isinstance(value, str) else (6, struct.pack("<f", value)) if isinstance(value, float) else (4, struct.pack("<I", value))
    return text(key) + struct.pack("<I", kind) + data


def main():
    shape, out = sys.argv[1:3]
    s = dict(SHAPES[shape])
    s["layers"] = int(sys.argv[3]) if len(sys.argv) > 3 else s["layers"]
    arch = "qwen35moe" if "experts" in s else "qwen35"
    keys = {
        "block_count": s["layers"], "context_length": CONTEXT, "embedding_length": s["hidden"], "full_attention_interval": INTERVAL,
        "attention.head_count": s["heads"], "attention.head_count_kv": s["kv"], "attention.key_length": HEAD, "attention.value_length": HEAD,
        "attention.layer_norm_rms_epsilon": 1e-6, "rope.dimension_count": HEAD // 4, "rope.freq_base": 1e7,
        "ssm.conv_kernel": TAPS, "ssm.state_size": WIDTH, "ssm.group_count": K_HEADS, "ssm.time_step_rank": s["v_heads"], "ssm.inner_size": s["v_heads"] * WIDTH,
    }
    if "experts" in s:
        keys |= {"expert_count": s["experts"], "expert_used_count": s["used"], "expert_feed_forward_length": s["expert_ffn"], "expert_shared_feed_forward_length": s["expert_ffn"]}
    else:
        keys["feed_forward_length"] = s["ffn"]
    meta = [pair("general.architecture", arch), pair("general.name", f"synthetic Qwen 3.5 {shape}"), pair("tokenizer.ggml.model", "none")]
    meta += [pair(f"{arch}.{key}", value) for key, value in keys.items()]
    rng = np.random.default_rng(1)
    pool = {kind: blocks(kind, 1 << 16, rng) for kind in BYTES}
    infos, at, all_of = b"", 0, list(tensors(s))
    for name, dims, kind in all_of:
        infos += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, at)
        size = int(np.prod(dims)) * 4 if kind == F32 else int(np.prod(dims)) // 256 * BYTES[kind]
        at += -(-size // 32) * 32
    with open(out, "wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(all_of), len(meta)) + b"".join(meta) + infos)
        file.write(bytes(-file.tell() % 32))
        for name, dims, kind in all_of:
            count = int(np.prod(dims))
            if kind == F32:
                sign = -1 if name.endswith("ssm_a") else 1
                file.write((sign * (1 + 0.1 * rng.standard_normal(count))).astype(np.float32).tobytes())
            else:
                left = count // 256 * BYTES[kind]
                while left > 0:
                    left -= file.write(pool[kind][:left])
            file.write(bytes(-file.tell() % 32))
        print(f"{out}: {file.tell() / 2**30:.2f} GiB, {len(all_of)} tensors")


main()
