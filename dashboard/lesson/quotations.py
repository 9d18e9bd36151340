"""The published analysis in its own words, each claim with the lines on which it stands.

Two notes in the public repository Quamba-SE, in Chinese, of which the tables in ``published`` are
a part; other notes beside them where they bear on it. What the two claim and a measurement can bear
out or contradict is quoted, letter by letter, without the marks of emphasis; the English is a
translation.
"""

from __future__ import annotations

from dataclasses import dataclass

REPOSITORY = "github.com/798253405/Quamba-SE"
FOLDER = "AuthorFolder"
COMMIT = "9688b7a"

ANALYSIS = "SILU_PERCENTILE_SCALE_ANALYSIS.md"
CONCLUSION = "PERCENTILE_ANALYSIS_CONCLUSION.md"
STRUCTURE = "LAYER_STRUCTURE_EXPLANATION.md"  # from here on, the notes beside it
GROUPS = "MAMBA2_GROUP_QUANTIZATION_ANALYSIS.md"
USAGE = "PERCENTILE_SCALE_USAGE_MAP.md"
OUTLIER_GUIDE = "OUTLIER_AWARE_SCALE_GUIDE.md"
SOFT_EDGE = "quamba/qMambaLayer.py at f4d350a"  # beside the notes' folder, of a later commit
DOCUMENTS = (ANALYSIS, CONCLUSION, STRUCTURE, GROUPS, USAGE, OUTLIER_GUIDE, SOFT_EDGE)


@dataclass(frozen=True)
class Quote:
    """One passage; ``…`` stands for what was left out between two of the lines."""

    original: str
    english: str
    document: str
    lines: str  # "36", "97–98"


# By the key of the claim that they make, in the order in which the page takes them.
QUOTES: dict[str, tuple[Quote, ...]] = {
    "calibrate": (
        Quote("实际需要的 scale = x_out_scale (不能直接用 wx_scale!)",
              "The scale really needed = x_out_scale (wx_scale cannot be used directly!)",
              CONCLUSION, "86"),
        Quote("每层必须独立 calibrate，不能用统一的 scale。",
              "Every layer must be calibrated on its own; one common scale cannot be used.",
              CONCLUSION, "104"),
    ),
    "saturates": (
        Quote("如果用 Conv1d 的 scale: … 会导致严重的饱和（clipping） … 量化误差巨大",
              "If Conv1d's scale is used: … it leads to severe saturation (clipping) … the "
              "quantization error is huge", ANALYSIS, "279–282"),
    ),
    "too_large_too_small": (
        Quote("Scale 太大 → INT8 的 256 个离散级别被浪费",
              "The scale is too large → INT8's 256 discrete levels are wasted", ANALYSIS, "97"),
        Quote("Scale 太小，无法表示 SiLU 输出",
              "The scale is too small to represent SiLU's output", ANALYSIS, "280"),
    ),
    "compresses": (
        Quote("输出范围: 5.24  (从 -0.27 到 4.97)  ← 压缩了 47.6%!",
              "Output range: 5.24 (from -0.27 to 4.97)  ← compressed by 47.6%!", ANALYSIS, "72"),
        Quote("大部分值集中在 [0, 3] 区间", "most values are concentrated in the interval [0, 3]",
              ANALYSIS, "73"),
    ),
    "utilization": (
        Quote("INT8 利用率:   50/127 = 39.4%  ← 浪费 60% 的表示能力!",
              "INT8 utilization:   50/127 = 39.4%  ← wastes 60% of what it can represent!",
              ANALYSIS, "91"),
        Quote("INT8 利用率:   127/127 = 100%  ← 充分利用!",
              "INT8 utilization:   127/127 = 100%  ← fully used!", ANALYSIS, "113"),
        Quote("INT8 的 256 个级别充分利用", "INT8's 256 levels are fully used", ANALYSIS, "121"),
    ),
    "toy_error": (
        Quote("用 Percentile scale = 0.0387", "With the percentile scale = 0.0387",
              ANALYSIS, "100"),
        Quote("平均误差:      0.011 … 误差改善:      2.51x",
              "mean error:      0.011 … error improved:      2.51x", ANALYSIS, "114–115"),
    ),
    "outlier": (
        Quote("Percentile scale  = 3.0 / 127 = 0.0236  ← 小了 3.3 倍!",
              "Percentile scale  = 3.0 / 127 = 0.0236  ← 3.3 times smaller!", ANALYSIS, "132"),
        Quote("牺牲 0.05% 的 outliers，换取 99.95% 正常值的高精度！",
              "Sacrifice 0.05% of outliers for high precision in 99.95% of normal values!",
              ANALYSIS, "143"),
    ),
    "widens": (
        Quote("ratio > 1: SiLU 扩大了值域，而不是压缩！",
              "ratio > 1: SiLU widened the range instead of compressing it!", ANALYSIS, "236"),
        Quote("wx_scale = weight_scale × x_scale", "wx_scale = weight_scale × x_scale",
              STRUCTURE, "177"),
    ),
    "first_layer": (
        Quote("深层网络 (Layer 1-4) 的 ratio 更大 (8-10x)",
              "The ratio of the deep network (layers 1-4) is larger (8-10x)", ANALYSIS, "248"),
        Quote("浅层网络 (Layer 0) 的 ratio 较小 (1.7x)",
              "The ratio of the shallow network (layer 0) is smaller (1.7x)", ANALYSIS, "249"),
    ),
    "larger_models": (
        Quote("大模型的 ratio 更大 (4.89 vs 1.72)",
              "Larger models have larger ratios (4.89 vs 1.72)", CONCLUSION, "52"),
        Quote("大模型中 SiLU 对值域的扩大效果更明显",
              "In larger models SiLU widens the range more markedly", CONCLUSION, "53"),
    ),
    "shape": (
        Quote("可能是 per-channel 或 per-group 量化 … Dim 1 和 Dim 2 可能对应 head groups 和 "
              "dim groups",
              "Possibly per-channel or per-group quantization … dims 1 and 2 may correspond to "
              "head groups and dim groups", ANALYSIS, "243–244"),
        Quote("x_out_mean / wx_scale", "x_out_mean / wx_scale", GROUPS, "133"),
    ),
    "alphas": (
        Quote("来源: Calibration 时用 PerTensorPercentileObserver 观察 SiLU 输出",
              "Source: at calibration PerTensorPercentileObserver watches SiLU's output",
              STRUCTURE, "188"),
        Quote("Quamba2: CrossHeadMinmaxObserver      → (1,4,4) 或 (8,4,4) scales (minmax per "
              "group)",
              "Quamba2: CrossHeadMinmaxObserver      → (1,4,4) or (8,4,4) scales (minmax per "
              "group)", USAGE, "92"),
        Quote("Percentile Alpha 的影响微乎其微", "The influence of the percentile α is minute",
              CONCLUSION, "11"),
        Quote("percentile_alpha 从 0.9995 (忽略 top 0.05%) 到 0.99999 (忽略 top 0.001%) 对 scale "
              "的影响 < 0.1%",
              "percentile_alpha from 0.9995 (ignores the top 0.05%) to 0.99999 (ignores the top "
              "0.001%) influences the scale by < 0.1%", CONCLUSION, "23"),
    ),
    "quantiles": (
        Quote("99.5% 分位数 ≈ 99.999% 分位数", "99.5% quantile ≈ 99.999% quantile",
              CONCLUSION, "29"),
        Quote("说明 0.5% - 0.001% 之间没有极端 outliers",
              "It shows that between 0.5% and 0.001% there are no extreme outliers",
              CONCLUSION, "30"),
        Quote("分布的\"尾巴\"很短，quantization-friendly",
              "The distribution's \"tail\" is short, quantization-friendly", CONCLUSION, "31"),
    ),
    "default": (
        Quote("pa-0.5 (α=0.9995) 已经足够", "pa-0.5 (α=0.9995) is already enough",
              CONCLUSION, "143"),
        Quote("pa-1.0 (α=0.99999) 提升 < 0.1%", "pa-1.0 (α=0.99999) improves by < 0.1%",
              CONCLUSION, "144"),
        Quote("建议: 默认用 0.9995，除非发现明显的 outliers",
              "Advice: use 0.9995 by default, unless there are marked outliers",
              CONCLUSION, "145"),
    ),
    "minmax": (
        Quote("Outliers 问题依然存在 - 如果用 MinMax，scale 会更大",
              "The problem of outliers remains - with MinMax the scale would be larger",
              ANALYSIS, "266"),
        Quote("Percentile 已经成功过滤了潜在的 outliers",
              "The percentile has successfully filtered out potential outliers",
              CONCLUSION, "37"),
        Quote("防止 outliers: 即使这个模型影响小，但是通用的保护措施",
              "Preventing outliers: even if it matters little in this model, a general safeguard",
              CONCLUSION, "137"),
    ),
    "soft_edge": (
        Quote("总量化级别: 63 + 127 + 63 = 253，可用 8-bit 编码",
              "Quantization levels in all: 63 + 127 + 63 = 253, which 8 bits can encode",
              SOFT_EDGE, "2174"),
        Quote("小值区域 4x 精度，中值区域原始精度，大值区域 1/4 精度但覆盖更大范围",
              "Four times the precision for small values, the original one for middle values, a "
              "quarter of it for large ones, over a larger range", SOFT_EDGE, "2175"),
    ),
    "outlier_aware": (
        Quote("Scale: 0.077025 … MSE: 0.023456 … Overflow: 0 (0.00%)",
              "Scale: 0.077025 … MSE: 0.023456 … Overflow: 0 (0.00%)", OUTLIER_GUIDE, "104–106"),
        Quote("2. Percentile (alpha=0.9995): … Overflow: 50 (0.50%)",
              "2. Percentile (alpha=0.9995): … Overflow: 50 (0.50%)", OUTLIER_GUIDE, "108–111"),
        Quote("MSE最优策略: outlier_aware (MSE=0.016789)",
              "The strategy with the least MSE: outlier_aware (MSE=0.016789)", OUTLIER_GUIDE,
              "134"),
    ),
    "direct": (
        Quote("Conv1d 内部是 FP32 计算，但直接输出 INT8！",
              "Inside Conv1d computes in FP32, but writes INT8 directly!", ANALYSIS, "36"),
    ),
}  # fmt: skip
