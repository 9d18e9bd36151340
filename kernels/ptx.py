"""Sixteen codes a thread: the arithmetic of the compiled kernel, written in PTX.

Two pairs of programs are put together here as text, for ``tl.inline_asm_elementwise``: one loads
sixteen codes, one turns them into sixteen others and stores them. The pairs differ in what the
sixteen are.

    along L    16 positions of one channel; words of four positions, the last word before them first
    along D    4 channels × 4 positions; one word a channel, and the word before each

The formulas are those of ``kernels.reference``. Nothing is converted between integer and float by a
conversion instruction, which the chip runs at an eighth of the speed of the others:

    window   prmt        the four codes that the value sees, moved into one word
    acc      dp4a        their product with the taps, on top of 0x4B400000: read as a float, that is
                         12582912 + acc
    v        add mul add as the specification rounds them
    e        mul ex2     approximate
    z        fma rcp mul v / (scale_out + scale_out · e), approximate
    code     fma         (z + 128) · 2^-149: float32 counts by 2^-149 near 0, so the product is
                         rounded to a whole z + 128, and its bits are that number
    word     cvt.pack    four codes, each clamped to 0 … 255, then moved back by 128

So that z · 2^-149 has one rounding only, v and the divisor are carried times powers of two.

**Exact.** The approximations leave z within DOUBT · |z| of the specification's quotient (docs/
kernel.md proves it). So z is rounded twice, once stretched and once shrunk by DOUBT: where both
give one code, that is the code. Where not, in some 10^-4 of the values, the thread repeats the
value as the specification says, with exp in float64.

**Fast.** Rounded once, to the nearest.

**A zero point** moves the codes: in place of 128, the last fma adds 128 + zero_point, which is put
into a register as the float32 with those bits, (128 + zero_point) · 2^-149.

**A look-up** needs neither e nor z: v alone decides, with a table (``kernels.lookup``).

All this needs ordinary scales (``is_ordinary``).
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

MAGIC = 0x4B400000  # the bits of 12582912.0 = 1.5 · 2^23, where float32 counts by ones
DOUBT = 17 * 2.0**-23  # relative; 1 + DOUBT and 1 - DOUBT are float32
V_SHIFT = 2.0**-75
DIVISOR_SHIFT = {True: 2.0**25, False: 2.0**74}  # exact or not
TINY = 2.0**-149


class Coding(NamedTuple):
    """How a value becomes a code."""

    kind: str  # "symmetric", "zero point" or "look-up"
    silu: bool
    exact: bool

    @property
    def v_shift(self) -> float:
        """v is carried times this."""
        return 1.0 if self.kind == "look-up" else V_SHIFT

    @property
    def divisor_shift(self) -> float:
        """The divisor is carried times this."""
        return DIVISOR_SHIFT[self.exact]


# What a channel brings beside taps, scale and bias.
USED = {"symmetric": ("out",), "zero point": ("out", "zero"), "look-up": ()}


class Program(NamedTuple):
    """PTX text, and the registers that it takes, in LLVM's notation."""

    text: str
    constraints: str


def is_ordinary(least_wx: float, least_b: float, reach: float, out: tuple[float, float]) -> bool:
    """Whether the programs hold for scales: no number on the way leaves float32's normal range.

    Args:
        least_wx, least_b: the least scale_w · scale_x and scale_b.
        reach: the largest |v| that the scales allow.
        out: the least and the greatest scale_out.
    """
    return (
        least_wx >= 2.0**-50
        and least_b >= 2.0**-50
        and reach <= 2.0**30
        and out[0] >= 2.0**-20
        and out[1] <= 2.0**20
    )


def _f32(value: float) -> str:
    return f"0f{struct.unpack('>I', struct.pack('>f', value))[0]:08X}"


def _f64(value: float) -> str:
    return f"0d{struct.unpack('>Q', struct.pack('>d', value))[0]:016X}"


# Loading ------------------------------------------------------------------------------------


def load_along_l(alignment: int) -> Program:
    """Sixteen codes and the four before them, as five words.

    Args:
        alignment: 16, 4 or 1; what x and its strides are multiples of, in bytes.

    Operands: the five words; the address, the number of codes that are left from there in the row
    (0 and less: nothing is read), and how many come before, 0 or more than 3.
    """
    lines = ["mov.b32 before, 0;"] + [f"mov.b32 w{k}, 0;" for k in range(4)]
    lines += ["setp.gt.s32 some, $6, 0;", "setp.gt.and.s32 follows, $7, 0, some;"]
    if alignment == 16:
        lines.append("@some ld.global.v4.b32 {w0, w1, w2, w3}, [$5];")
        lines.append("@follows ld.global.b32 before, [$5+-4];")
    elif alignment == 4:
        for k in range(4):
            lines += [f"setp.gt.s32 p, $6, {4 * k};", f"@p ld.global.b32 w{k}, [$5+{4 * k}];"]
        lines.append("@follows ld.global.b32 before, [$5+-4];")
    else:
        # Whole words that hold the codes, shifted into place; the row's last codes byte by byte
        # where they do not fill a word, for they may be the last of x's memory.
        lines += [
            "and.b64 start, $5, -4;",
            "cvt.u32.u64 shift, $5;",
            "and.b32 shift, shift, 3;",
            "mad.lo.u32 place, shift, 0x1111, 0x3210;",
            "add.s32 end, $6, shift;",
            "mov.b32 r0, 0;",
            "@follows ld.global.b32 r0, [start+-4];",
            "and.b32 odd, end, -4;",
            "cvt.s64.s32 last, odd;",
            "add.s64 last, last, start;",
            "setp.lt.and.s32 inside, odd, 20, some;",
            "sub.s32 bytes, end, odd;",
        ]
        for k in range(3):
            lines += [
                f"mov.b32 b{k}, 0;",
                f"setp.gt.and.s32 p, bytes, {k}, inside;",
                f"@p ld.global.u8 b{k}, [last+{k}];",
            ]
        lines += ["prmt.b32 b0, b0, b1, 0x0040;", "prmt.b32 b0, b0, b2, 0x5410;"]
        for k in range(5):
            lines += [
                f"mov.b32 r{k + 1}, 0;",
                f"setp.ge.and.s32 p, end, {4 * k + 4}, some;",
                f"@p ld.global.b32 r{k + 1}, [start+{4 * k}];",
                f"setp.eq.and.s32 p, odd, {4 * k}, inside;",
                f"@p mov.b32 r{k + 1}, b0;",
            ]
        lines.append("prmt.b32 before, r0, r1, place;")
        lines.append("@!follows mov.b32 before, 0;")
        lines += [f"prmt.b32 w{k}, r{k + 1}, r{k + 2}, place;" for k in range(4)]
    lines += ["mov.b32 $0, before;"] + [f"mov.b32 ${k + 1}, w{k};" for k in range(4)]
    registers = (
        ".reg .pred p, some, follows, inside; .reg .b64 start, last; "
        ".reg .b32 before, w<4>, r<6>, b<3>, shift, place, end, odd, bytes;"
    )
    return _program([registers, *lines], "=r,=r,=r,=r,=r,l,r,r")


def load_along_d(stride: int | None, whole: bool) -> Program:
    """Four positions of four channels, as one word a channel.

    Args:
        stride: bytes from one position to the next, where a position's four channels are a word in
            memory; None where codes have to be loaded one by one.
        whole: the number of positions is a multiple of four.

    Operands: the four words; the address, the byte strides of L and D, the number of positions and
    of channels that are left from there. Codes beyond them are 0.
    """
    lines = ["setp.gt.s32 inside, $8, 0;", *(f"mov.b32 r{k}, 0;" for k in range(4))]
    if stride is not None:
        for k in range(4):
            if k == 0 or not whole:
                lines.append(f"setp.gt.and.s32 p, $7, {k}, inside;")
            lines.append(f"@p ld.global.b32 r{k}, [$4+{k * stride}];")
        lines += _transpose([f"r{k}" for k in range(4)], [f"w{k}" for k in range(4)])
    else:
        lines += ["mov.b64 a0, $4;"] + [f"add.s64 a{k}, a{k - 1}, $5;" for k in (1, 2, 3)]
        for channel in range(4):
            for k in range(4):
                lines += [
                    f"mov.b32 r{k}, 0;",
                    f"setp.gt.s32 inside, $8, {channel};",
                    f"setp.gt.and.s32 p, $7, {k}, inside;",
                    f"@p ld.global.u8 r{k}, [a{k}];",
                    f"add.s64 a{k}, a{k}, $6;",
                ]
            lines += [
                "prmt.b32 r0, r0, r1, 0x0040;",
                "prmt.b32 r2, r2, r3, 0x0040;",
                f"prmt.b32 w{channel}, r0, r2, 0x5410;",
            ]
    lines += [f"mov.b32 ${k}, w{k};" for k in range(4)]
    registers = ".reg .pred p, inside; .reg .b64 a<4>; .reg .b32 r<4>, w<4>, h<4>;"
    return _program([registers, *lines], "=r,=r,=r,=r,l,l,l,r,r")


def _transpose(rows: list[str], columns: list[str]) -> list[str]:
    """4×4 bytes, in eight instructions."""
    a, b, c, d = rows
    return [
        f"prmt.b32 h0, {a}, {b}, 0x5140;",
        f"prmt.b32 h1, {c}, {d}, 0x5140;",
        f"prmt.b32 h2, {a}, {b}, 0x7362;",
        f"prmt.b32 h3, {c}, {d}, 0x7362;",
        f"prmt.b32 {columns[0]}, h0, h1, 0x5410;",
        f"prmt.b32 {columns[1]}, h0, h1, 0x7632;",
        f"prmt.b32 {columns[2]}, h2, h3, 0x5410;",
        f"prmt.b32 {columns[3]}, h2, h3, 0x7632;",
    ]


# Computing and storing ----------------------------------------------------------------------

# Where a value comes from: the words before and at its position, its byte there, its channel.
_Source = tuple[str, str, int, dict[str, str]]
# A channel's operands and a look-up's, in their order; programs use those that they need.
CHANNEL = ("taps", "scale", "bias", "out", "zero")
LOOKUP = ("entries", "shrink", "factor", "shift", "negative", "search")
LOOKUP_CONSTRAINTS = "r,f,f,r,f,l"


def code_along_l(alignment: int, coding: Coding) -> Program:
    """Sixteen positions of one channel.

    Operands: an unused result; the five words of ``load_along_l``; the output's address and the
    number of codes to store there; taps (int8x4, the oldest in the lowest byte), scale_w · scale_x
    and bias · scale_b, both times ``coding.v_shift``, scale_out times ``coding.divisor_shift``, and
    zero_point; then ``LOOKUP``: the address of the entries in
    shared memory, the first words of the table's header, and the address of the thresholds.
    """
    words = ["$1", "$2", "$3", "$4", "$5"]
    channel = {name: f"${8 + i}" for i, name in enumerate(CHANNEL)}
    table = {name: f"${8 + len(CHANNEL) + i}" for i, name in enumerate(LOOKUP)}
    # Byte i of output word k: position i of that word.
    values = [[(words[k], words[k + 1], i, channel) for i in range(4)] for k in range(4)]
    cold = _Cold(words[:4], words[1:], [channel], table, coding, source="k", place="i")
    lines = _compute(values, cold)
    if alignment == 16:
        lines += ["setp.gt.s32 p, $7, 0;", "@p st.global.v4.b32 [$6], {o0, o1, o2, o3};"]
    elif alignment == 4:
        for k in range(4):
            lines += [f"setp.gt.s32 p, $7, {4 * k};", f"@p st.global.b32 [$6+{4 * k}], o{k};"]
    else:
        for k in range(16):
            lines += [f"setp.gt.s32 p, $7, {k};", f"@p st.global.b8 [$6+{k}], o{k // 4};"]
            if k % 4 < 3:
                lines.append(f"shr.u32 o{k // 4}, o{k // 4}, 8;")
    lines.append("mov.b32 $0, 0;")
    operands = "=r,r,r,r,r,r,l,r,r,f,f,f,r," + LOOKUP_CONSTRAINTS
    return _program([_REGISTERS, *lines], operands)


def code_along_d(stride: int | None, whole: bool, coding: Coding) -> Program:
    """Four positions of four channels; ``stride`` and ``whole`` as in ``load_along_d``.

    Operands: an unused result; the four words before (one a channel) and the four words, as
    ``load_along_d`` gives them; the output's address, its byte strides of L and D, and the number
    of positions and channels to store; then what each channel brings, as in ``code_along_l``,
    first the four taps, then the four scales and so on, and ``LOOKUP``.
    """
    befores, words = [f"${k}" for k in (1, 2, 3, 4)], [f"${k}" for k in (5, 6, 7, 8)]
    channels = [{name: f"${14 + 4 * i + c}" for i, name in enumerate(CHANNEL)} for c in range(4)]
    table = {name: f"${14 + 4 * len(CHANNEL) + i}" for i, name in enumerate(LOOKUP)}
    # Byte c of output word i: channel c at position i.
    values = [[(befores[c], words[c], i, channels[c]) for c in range(4)] for i in range(4)]
    cold = _Cold(befores, words, channels, table, coding, source="i", place="k")
    lines = _compute(values, cold)
    if stride is not None:
        lines.append("setp.gt.s32 inside, $13, 0;")
        for k in range(4):
            if k == 0 or not whole:
                lines.append(f"setp.gt.and.s32 p, $12, {k}, inside;")
            lines.append(f"@p st.global.b32 [$9+{k * stride}], o{k};")
    else:
        lines += ["mov.b64 a0, $9;"] + [f"add.s64 a{k}, a{k - 1}, $10;" for k in (1, 2, 3)]
        for k in range(4):
            for channel in range(4):
                lines += [
                    f"setp.gt.s32 inside, $13, {channel};",
                    f"setp.gt.and.s32 p, $12, {k}, inside;",
                    f"@p st.global.b8 [a{k}], o{k};",
                    f"add.s64 a{k}, a{k}, $11;",
                    f"shr.u32 o{k}, o{k}, 8;",
                ]
    lines.append("mov.b32 $0, 0;")
    channel_operands = "r,r,r,r," + "f,f,f,f," * 3 + "r,r,r,r,"
    operands = "=r," + "r," * 8 + "l,l,l,r,r," + channel_operands + LOOKUP_CONSTRAINTS
    return _program([_REGISTERS, *lines], operands)


_REGISTERS = (
    ".reg .pred p, q, g<4>, inside; .reg .b64 a<4>; "
    ".reg .b32 window, o<4>, u<4>, c<4>, d<4>, any; .reg .f32 v, e, r, z; "
    ".reg .b32 i, k, sel, before, word, taps, bits, mask, patched, code; "
    ".reg .f32 offset<4>, scale, bias, out, x, y, half; .reg .f64 f, n, g, h; "
    ".reg .b32 zero, lo, hi;"
)


def _compute(values: list[list[_Source]], cold: _Cold) -> list[str]:
    """The sixteen codes, in o0 … o3."""
    if cold.coding.kind == "look-up":
        return _look_up(values, cold)
    exact = cold.coding.exact
    offsets, lines = {channel["zero"]: _f32(128 * TINY) for channel in cold.channels}, []
    if cold.coding.kind == "zero point":
        for c, zero in enumerate(offsets):
            lines += [f"add.s32 k, {zero}, 128;", f"mov.b32 offset{c}, k;"]
            offsets[zero] = f"offset{c}"
    for k, four in enumerate(values):
        for i, source in enumerate(four):
            lines += _value(i, source, cold.coding, offsets[source[3]["zero"]])
        lines += _pack("c", f"o{k}")
        if exact:
            lines += _pack("d", f"u{k}")
    if exact:
        lines += ["xor.b32 any, o0, u0;"]
        for k in (1, 2, 3):
            lines += [f"xor.b32 mask, o{k}, u{k};", "or.b32 any, any, mask;"]
        doubtful = [f"xor.b32 u{k}, u{k}, o{k};" for k in range(4)]
        lines += ["setp.eq.b32 p, any, 0;", "@p bra settled;", *doubtful, *cold.lines()]
    # From 0 … 255 to -128 … 127.
    return lines + [f"xor.b32 o{k}, o{k}, 0x80808080;" for k in range(4)]


def _look_up(values: list[list[_Source]], cold: _Cold) -> list[str]:
    """The sixteen codes, in o0 … o3: ``kernels.lookup`` says how."""
    table, lines = cold.table, []
    for k, four in enumerate(values):
        for i, source in enumerate(four):
            lines += [
                *_exact_v(i, source),
                "abs.f32 e, v;",
                f"mul.rn.sat.f32 e, e, {table['shrink']};",
                f"mul.rn.f32 e, e, {table['factor']};",
                "mov.b32 bits, e;",
                f"shr.u32 bits, bits, {table['shift']};",
                "and.b32 bits, bits, -8;",
                # 1 for negative values, else 0; offsets are added as float32 near 0, to the bit,
                # for the integer pipe has more to do than the other.
                f"mul.rn.sat.f32 r, v, {_f32(-(2.0**100))};",
                "mov.b32 e, bits;",
                f"fma.rn.f32 e, r, {table['negative']}, e;",
                "mov.b32 bits, e;",
                f"add.s32 bits, bits, {table['entries']};",
                "ld.shared.v2.f32 {z, r}, [bits];",
                "sub.rn.f32 z, v, z;",
                "setp.ge.f32 q, z, 0f00000000;",
                "abs.f32 z, z;",
                # Within how much of the threshold there is doubt, also in any of the four.
                f"setp.lt.f32 g{k}, z, r;" if i == 0 else f"setp.lt.or.f32 g{k}, z, r, g{k};",
                f"mov.b32 c{i}, r;",
                f"@q shr.u32 c{i}, c{i}, 8;",
            ]
        lines += [
            "prmt.b32 c0, c0, c1, 0x0040;",
            "prmt.b32 c2, c2, c3, 0x0040;",
            f"prmt.b32 o{k}, c0, c2, 0x5410;",
        ]
    return [
        *lines,
        "or.pred p, g0, g1;",
        "or.pred p, p, g2;",
        "or.pred p, p, g3;",
        "@!p bra settled;",
        *(f"selp.b32 u{k}, -1, 0, g{k};" for k in range(4)),
        *cold.lines(),
    ]


def _exact_v(i: int, source: _Source) -> list[str]:
    """The specification's v, from its window on; c{i} is used on the way."""
    return [
        *_sum(i, source),
        f"mul.rn.f32 v, v, {source[3]['scale']};",
        f"add.rn.f32 v, v, {source[3]['bias']};",
    ]


def _sum(i: int, source: _Source) -> list[str]:
    """acc as a float, in v."""
    before, word, position, channel = source
    window = word if position == 3 else "window"
    lines = (
        []
        if position == 3
        else [f"prmt.b32 window, {before}, {word}, {0x4321 + 0x1111 * position};"]
    )
    return [
        *lines,
        f"dp4a.s32.s32 c{i}, {window}, {channel['taps']}, {MAGIC};",
        f"mov.b32 v, c{i};",
        f"add.rn.f32 v, v, {_f32(-12582912.0)};",
    ]


def _value(i: int, source: _Source, coding: Coding, offset: str) -> list[str]:
    """One value, from its window to its rounded z + 128: c{i}, and d{i} where exact.

    Args:
        offset: the 128, times TINY.
    """
    channel, exact = source[3], coding.exact
    if exact:
        lines = _exact_v(i, source)
    else:
        fused = f"fma.rn.f32 v, v, {channel['scale']}, {channel['bias']};"
        lines = [*_sum(i, source), fused]
    if coding.silu:
        lines += [
            f"mul.rn.f32 e, v, {_f32(-1 / math.log(2) / V_SHIFT)};",
            "ex2.approx.ftz.f32 e, e;",
            f"fma.rn.f32 e, e, {channel['out']}, {channel['out']};",
            "rcp.approx.ftz.f32 r, e;",
        ]
    else:
        lines.append(f"rcp.approx.ftz.f32 r, {channel['out']};")
    rest = TINY / coding.v_shift * coding.divisor_shift
    if exact:
        lines += [
            "mul.rn.f32 z, v, r;",
            f"fma.rn.f32 r, z, {_f32((1 + DOUBT) * rest)}, {offset};",
            f"mov.b32 c{i}, r;",
            f"fma.rn.f32 r, z, {_f32((1 - DOUBT) * rest)}, {offset};",
            f"mov.b32 d{i}, r;",
        ]
    else:
        lines += [f"fma.rn.f32 r, v, r, {offset};", f"mov.b32 c{i}, r;"]
    return lines


def _pack(source: str, target: str) -> list[str]:
    """Four s32, each clamped to 0 … 255, as the bytes of a word; the first in the lowest."""
    return [
        f"cvt.pack.sat.u8.s32.b32 {target}, {source}3, {source}2, 0;",
        f"cvt.pack.sat.u8.s32.b32 {target}, {source}1, {source}0, {target};",
    ]


class _Cold(NamedTuple):
    """The values in doubt, one after the other, as the specification says.

    Byte i of word k is the value at ``place`` of the word and channel number ``source``, each of
    the two being i or k.
    """

    befores: list[str]
    words: list[str]
    channels: list[dict[str, str]]  # one, or one a word
    table: dict[str, str]
    coding: Coding
    source: str
    place: str

    def lines(self) -> list[str]:
        """Computes those codes of o0 … o3 whose bytes in u0 … u3 are not 0."""
        names = ("taps", "scale", "bias", *USED[self.coding.kind])
        channel = {name: [c[name] for c in self.channels] for name in names}
        flip = [] if self.coding.kind == "look-up" else ["xor.b32 code, code, 0x80;"]
        return [
            "again:",
            # The first word with a byte in doubt, and the first such byte in it.
            "mov.b32 k, 3;",
            "mov.b32 bits, u3;",
            "mov.b32 patched, o3;",
            *(
                line
                for k in (2, 1, 0)
                for line in (
                    f"setp.ne.b32 p, u{k}, 0;",
                    f"selp.b32 k, {k}, k, p;",
                    f"selp.b32 bits, u{k}, bits, p;",
                    f"selp.b32 patched, o{k}, patched, p;",
                )
            ),
            "brev.b32 i, bits;",
            "clz.b32 i, i;",
            "shr.u32 i, i, 3;",
            *self._pick("before", self.befores),
            *self._pick("word", self.words),
            *(line for name in channel for line in self._pick(name, channel[name])),
            f"mad.lo.u32 sel, {self.place}, 0x1111, 0x4321;",
            "prmt.b32 window, before, word, sel;",
            "dp4a.s32.s32 code, window, taps, 0;",
            *self._specified(),
            *flip,
            "shl.b32 i, i, 3;",
            "bfi.b32 patched, code, patched, i, 8;",
            "mov.b32 mask, 0;",
            "bfi.b32 bits, mask, bits, i, 8;",
            *(
                line
                for k in range(4)
                for line in (
                    f"setp.eq.u32 p, k, {k};",
                    f"@p mov.b32 o{k}, patched;",
                    f"@p mov.b32 u{k}, bits;",
                )
            ),
            "or.b32 any, u0, u1;",
            "or.b32 mask, u2, u3;",
            "or.b32 any, any, mask;",
            "setp.ne.b32 p, any, 0;",
            "@p bra again;",
            "settled:",
        ]

    def _pick(self, name: str, registers: list[str]) -> list[str]:
        kind = "b32" if name in ("before", "word", "taps", "zero") else "f32"
        lines = [f"mov.{kind} {name}, {registers[0]};"]
        for k, register in enumerate(registers[1:], start=1):
            lines += [
                f"setp.eq.u32 p, {self.source}, {k};",
                f"selp.{kind} {name}, {register}, {name}, p;",
            ]
        return lines

    def _specified(self) -> list[str]:
        """acc in ``code`` -> its code: every step of ``kernels.reference``."""
        coding = self.coding
        lines = [
            # Powers of two, so that the scales are again what they were.
            f"mul.rn.f32 scale, scale, {_f32(1 / coding.v_shift)};",
            f"mul.rn.f32 bias, bias, {_f32(1 / coding.v_shift)};",
            "cvt.rn.f32.s32 x, code;", "mul.rn.f32 x, x, scale;", "add.rn.f32 x, x, bias;",
        ]  # fmt: skip
        if coding.silu:
            lines += [
                # Beyond these bounds exp is 0 and infinite in float32.
                "neg.f32 y, x;",
                f"min.f32 y, y, {_f32(90.0)};",
                f"max.f32 y, y, {_f32(-110.0)};",
                "cvt.f64.f32 f, y;",
                # exp(f) = 2^n · exp(g), |g| <= log(2) / 2; n through float64's own magic number.
                f"fma.rn.f64 n, f, {_f64(1 / math.log(2))}, {_f64(6755399441055744.0)};",
                "mov.b64 {lo, hi}, n;",
                f"sub.rn.f64 n, n, {_f64(6755399441055744.0)};",
                # log(2) in two parts, the first with enough zeros for n times it to be exact.
                f"fma.rn.f64 g, n, {_f64(-float.fromhex('0x1.62e42feep-1'))}, f;",
                f"fma.rn.f64 g, n, {_f64(-float.fromhex('0x1.a39ef35793c76p-33'))}, g;",
                f"mov.f64 h, {_f64(1 / math.factorial(13))};",
                *(f"fma.rn.f64 h, h, g, {_f64(1 / math.factorial(k))};" for k in range(12, -1, -1)),
                "shl.b32 lo, lo, 20;",
                "mov.b64 {mask, hi}, h;",
                "add.s32 hi, hi, lo;",
                "mov.b64 h, {mask, hi};",
                "cvt.rn.f32.f64 y, h;",
                f"add.rn.f32 y, y, {_f32(1.0)};",
                "div.rn.f32 x, x, y;",
            ]
        if coding.kind == "look-up":
            return [*lines, *_sought(self.table["search"])]
        has_zero = coding.kind == "zero point"
        # With a zero point the ends are clamped to once it is added; a rounded quotient beyond
        # these has no other code.
        most, least = (512.0, -512.0) if has_zero else (127.0, -128.0)
        return [
            *lines,
            f"mul.rn.f32 out, out, {_f32(1 / coding.divisor_shift)};",
            "div.rn.f32 x, x, out;",
            f"min.f32 x, x, {_f32(most)};",
            f"max.f32 x, x, {_f32(least)};",
            # Halves away from zero: the float32 just below 1/2, with x's sign, then truncation.
            "mov.b32 code, x;",
            "and.b32 code, code, 0x80000000;",
            "or.b32 code, code, 0x3EFFFFFF;",
            "mov.b32 half, code;",
            "add.rn.f32 x, x, half;",
            "cvt.rzi.s32.f32 code, x;",
            *(_moved_by_zero() if has_zero else ()),
        ]


def _moved_by_zero() -> list[str]:
    """A rounded quotient in ``code`` -> its code, by ``zero``."""
    return [
        "add.s32 mask, zero, 128;",
        "add.s32 code, code, mask;",
        "max.s32 code, code, 0;",
        "min.s32 code, code, 255;",
        "sub.s32 code, code, 128;",
    ]


def _sought(thresholds: str) -> list[str]:
    """A value in x -> its code, by halving what is left of 255 thresholds."""
    lines = ["mov.b32 code, 0;"]
    for step in (128, 64, 32, 16, 8, 4, 2, 1):
        lines += [
            f"add.s32 mask, code, {step - 1};",
            "mul.wide.u32 a0, mask, 4;",
            f"add.s64 a0, a0, {thresholds};",
            "ld.global.f32 y, [a0];",
            "setp.ge.f32 p, x, y;",
            f"@p add.s32 code, code, {step};",
        ]
    return [*lines, "sub.s32 code, code, 128;"]


def fetch_entries(most: int) -> Program:
    """Copy a look-up's entries to shared memory, which all threads of a program then read.

    Args:
        most: how many entries of 8 bytes there can be.

    Operands: their address in shared memory; an unused one; their address, and how many times 16
    bytes they are. To be called once in a kernel.
    """
    lines = [
        f".shared .align 16 .b8 entries[{8 * most}];",
        ".reg .pred p; .reg .b64 a; .reg .b32 base, k, step, at, w<4>;",
        "mov.u32 base, entries;", "mov.u32 k, %tid.x;", "mov.u32 step, %ntid.x;",
        "next:",
        "setp.ge.u32 p, k, $3;", "@p bra fetched;",
        "mul.wide.u32 a, k, 16;", "add.s64 a, a, $2;", "ld.global.v4.b32 {w0, w1, w2, w3}, [a];",
        "shl.b32 at, k, 4;", "add.s32 at, at, base;", "st.shared.v4.b32 [at], {w0, w1, w2, w3};",
        "add.s32 k, k, step;", "bra next;",
        "fetched:",
        "bar.sync 0;", "mov.b32 $0, base;",
    ]  # fmt: skip
    return _program(lines, "=r,r,l,r")


# Counting codes -----------------------------------------------------------------------------

COUNTING_THREADS = 128


def count_codes() -> Program:
    """Add how often each code occurs to 256 counters.

    A program has a counter for each code and lane, so that the additions of a warp never meet in a
    bank of its shared memory. Sixteen codes are loaded at once, from where addresses are multiples
    of 16; the first and the last sixteen may reach beyond the codes, and go one by one.

    Operands: an unused result; the address of the codes, the address behind them, and that of the
    counters (uint32, entry i for the code i - 128); the thread's first group of sixteen, and how
    many groups on its next one is. To be called once in a kernel, by ``COUNTING_THREADS`` threads.
    """
    lines = [
        ".shared .align 16 .b32 counters[8192];",
        ".reg .pred p, q; .reg .b64 address, start, end, group; .reg .b32 w<4>;",
        ".reg .b32 base, mine, thread, lane, k, code, at, sum, bin;",
        "mov.u32 base, counters;", "mov.u32 thread, %tid.x;", "and.b32 lane, thread, 31;",
        "shl.b32 at, thread, 2;", "add.s32 at, at, base;", "mov.b32 k, 0;", "mov.b32 w0, 0;",
        "clear:",
        "st.shared.b32 [at], w0;", f"add.s32 at, at, {4 * COUNTING_THREADS};", "add.s32 k, k, 1;",
        f"setp.lt.u32 p, k, {8192 // COUNTING_THREADS};", "@p bra clear;",
        "bar.sync 0;",
        "shl.b32 mine, lane, 2;", "add.s32 mine, mine, base;",
        "and.b64 start, $1, -16;", "mul.wide.s32 group, $4, 16;", "add.s64 address, start, group;",
        "mul.wide.s32 group, $5, 16;",
        "next:",
        "setp.ge.u64 p, address, $2;", "@p bra counted;",
        "add.s64 end, address, 16;",
        "setp.lt.u64 p, address, $1;", "setp.gt.or.u64 p, end, $2, p;", "@p bra part;",
        "ld.global.v4.b32 {w0, w1, w2, w3}, [address];",
        *(
            line
            for k in range(16)
            for line in (
                f"bfe.u32 code, w{k // 4}, {8 * (k % 4)}, 8;", "mad.lo.u32 at, code, 128, mine;",
                "red.shared.add.u32 [at], 1;",
            )
        ),
        "bra onward;",
        "part:",
        "mov.b64 start, address;",
        "one:",
        "setp.ge.u64 p, start, $1;", "setp.lt.and.u64 p, start, $2, p;",
        "@p ld.global.u8 code, [start];", "@p mad.lo.u32 at, code, 128, mine;",
        "@p red.shared.add.u32 [at], 1;",
        "add.s64 start, start, 1;", "setp.lt.u64 p, start, end;", "@p bra one;",
        "onward:",
        "add.s64 address, address, group;", "bra next;",
        "counted:",
        "bar.sync 0;",
        # The sums over lanes; each thread begins at its own, so that banks differ.
        "mov.b32 bin, thread;",
        "sum_up:",
        "mov.b32 sum, 0;", "mov.b32 k, 0;",
        "add_lane:",
        "add.s32 at, k, lane;", "and.b32 at, at, 31;", "shl.b32 at, at, 2;",
        "mad.lo.u32 at, bin, 128, at;", "add.s32 at, at, base;", "ld.shared.b32 code, [at];",
        "add.s32 sum, sum, code;", "add.s32 k, k, 1;", "setp.lt.u32 p, k, 32;", "@p bra add_lane;",
        "xor.b32 code, bin, 128;",
        "mul.wide.u32 address, code, 4;", "add.s64 address, address, $3;",
        "red.global.add.u32 [address], sum;",
        f"add.s32 bin, bin, {COUNTING_THREADS};", "setp.lt.u32 p, bin, 256;", "@p bra sum_up;",
        "mov.b32 $0, 0;",
    ]  # fmt: skip
    return _program(lines, "=r,l,l,l,r,r")


def _program(lines: list[str], constraints: str) -> Program:
    return Program("{\n" + "\n".join(lines) + "\n}", constraints)
