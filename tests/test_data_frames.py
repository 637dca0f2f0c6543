"""Pickled pandas frames: those of old and new pandas read alike, and no pickle gets to run anything."""

from __future__ import annotations

import base64
import io
import os
import pickle
import zlib

import numpy as np
import pandas as pd
import pytest

from ganseg.data.frames import FrameUnpickler, Record, read_frame
from ganseg.files import UserError

# file_name "a.png", "b.png"; value [[1, 2], [-1, -1]], [[3, 4], [250, 6]]
WRITTEN_BY = {
    "pandas 0.25.3, protocol 2":
        "c-nnbYg5xe6iovZ2#W6qDhfV>N~DTf6$KGdh!kC4@loR@UAi6Hv?tl9%-9+I01SW0FMjZc>1LBMgQIR{vUhXuJ$v`uv-zs~EgD"
        "p4WckgISt}uJFk_AiI<G8fW8aW#LpPlsP1D?p^q^~7N-Yp93}`*F8Z@9)7DmQwz3G2gN>>KDB}9)|M&A4*ufjgF$nt2!3^!n(+"
        "=b+ef!=?IWf6UC^qWq%EJ)R3_(9xgt)}sfxGrim4C$)jhRkmUkqBd77#K*S3<<5g*kNmH*y+1|v%>tyU_oLS7<6(H*uyR-FXuW"
        "HwV;6A>)1oEcLVzf_M3Lj*4J<#1FVSEmdrco=rVq}h(oq!=QePdV92z)6xtUYDV0i#zvNIads^VAw^_z9)9IJ~m0F#-fg~Kmis"
        "z5C9y1(g0w+9mPURaZ#p@U)ILZG`QAmR-Gf48zh&t8AX_JqX6lf%9C~(Hs6k;TrEu6LWY{6PMXXhloNifFBIL`;TBIp8_r@lxq"
        "u1;<1>#+Ecto%}{2x_&0DkhZeDZ9|gyqsiSA(-6CyvkFOYDHX2NxDu@?2t5t8{0|J1a5kpe9)PY-XtO!dN%+3@&5<6xNO=K!EJ"
        "#%UZ<w%q^22yyIVEQ@?x^ZsD$jwpu0O;e9w%0HsfA`IY)3`VBVA6dEn799`ar;6}ez?qqEIovW-pfD3i*PqO4@{VV*Q~+2g90j"
        "|ra8Hi%N%gjJZd3V7PavsBwu_7u-~UU|LbN=0~4#>+MwQ+-n^iSUY#JAHE5sD`eLityTZT`#W5dl0y;5!GwHl;;~sxSmk{mY^K"
        "dI1+f5YRi@Sg{yR!TqpGlz<afJ8%$7j$K*M^*t32EZEH@@",
    "pandas 1.1.5, protocol 4":
        "c-nPSQESvd5Wb|z*;b1bEZUc%56bxxEC~7_2yGEGc!j<nVUpY429v#GccUJ7pbu9q%v;Al>r0*8q@^wGK4d04^X<$x`|Z!@@4-"
        "sXFWj7g8iPrSsTRqxhFTD=9e{-o-an(4zi2@NjIw&733slhm&yvQpfX7f3MN7u!UucRwD|J5{cque5#yg+2ad&eVUipSms`)2_"
        "?CTidkm2GF~0D9;W0NuxTTtUHgDl|Q`r)<hB?>Ev?!*^SltwsAsG8a!h2lKr<_sRThe}z({DPWK^mmtlH?Y~V>_QYh8P~crPDu"
        "cbOnPSG#m~;o%8aa^u4A0)NxolE-R5KKco07RE;3PF^v4yusPuq<OXivMpc8FIIc&|Ug0MPLyV0DZMjX1jGfLX4V@#{3H+I2MD"
        "me*>}bgCOA={#Lh_k!EQVyJCfro+?On+`7?#(VzPrJ+=a}w44O(sV!p@%GSj1^})!1Wvr>$Pp*?*nwch=$E;DC8;$cJtUo41^|"
        "?C8no@`X$1QTcJeg0TN8*?pbtwh93rFv)f7=T3WuMt-~RZ-@hLaFw;2ag6o3nl~k@N3k25sw{-p2R9$Mx(zhO-)P3#;D_L}ckw"
        "8)T3GO695EKGWw|e?$&>%0B|>x",
    "pandas 1.5.3, protocol 4":
        "c-nPR&ui5{5KhvhS`kYTwIYZI!FtKrL#fb;puq^emt~UdOF}oBu)DE7Xh9FHE$pr1KkKE=?n|++)P?NKZsz-TetbXT->+8!zwE"
        "{UvI3o!z2fOiLC4XqeE<U=y?=>sf8q&l*_d^;Li_S&cq<K85`<1WkWh1_(LUT2eR=q0aVEHZIw6>73;hp*cAbrKXv;&vS>Z4)_"
        "=z05VZLDRMqye|3g*Ph6fb+JjT%ei0uvvI_8xKjkW0*hQ``#+{Du3tm4#W9MQ7No+oUq{!Bt|TukY~UeDQz9hR2xa`R6NIe#_n"
        ")EG`bH)&$Z)*7Qi>ZS$zvaOBP7W$H~EwM&HCw+I7Axc4etv^t0;dv$9eh5hf1H-w)?6~vSMGuhS2Iy|S(-Y>?MdM2s4i56|ieO"
        "HJnbfj72_EU5fZZ40p;@`PW3(z$D2TbxK_Q~B5yxF$NweMw6ku>h=2pwMd=B>?InyB<bO1^;@Ir`*cf0d7CglKl`^Sd%oAZwSx"
        "zOy%;ZL*vyGN26AV`FXlfy!|XCnxlr+-)RN8a64|rFpGp)^P(q?*mE+j3J$#pj~A%0kwCZfe`(XX4N=Q+rV%ppx`9Zb3GR6UvJ"
        "tw9{",
    "pandas 2.2.3, protocol 5":
        "c-n1J&ubMi5Z>LstyaZS3R)3F@Zb|+&mKxeD}pXQq4yGI_ho<3Y<5Yq)&~~!(Aq+79sOgy)Jb-0UyC_pCdtg?`)0oH@vk>4fnR"
        "o`133qs<gMaKp`hVt*WQ7F_ufCp7eDX_r*^`cQlWja99~Pql?0)a1|*bRX|(s=iZ(y^G@L2jJ{U8Ys55<)f_9ztva9n0!CB^Ve"
        "6Z}BZjmrwzUhUjK`B^JS*Cd2N^Ml18y6Y-NVK=8xDPqUG&siHFvFj?hto7nqcl3fYTd?jv*;WZ8-0F-XQ#vaiVeTvY&QFNLCbI"
        "HYlGR@K9P+f>10WtWP{yYhDAPCb&mEfD^%NLeNlL()89{ro(AD)qtRa6SXgb@sJ;ee`v#PNpbP|TxQm9us%KXpjKd2iqy015)z"
        "M=0d}RO9rE)4}Z)bf?{gl-CSc^L6zGD;?IuL2(_G5JHx3154&cAY<WS~hIcbMdd?1Q_b^lID2m%i7?oOFZL{c6LFqT2j72s%9W"
        "ja@5h8n^T+i@$*A`2cR>uV(#;Bf4WB{SScxSvm-N&Mtjhr88n=KpEm=C)%_f(QytZC-gPB+epJC1d_Ldc`0?)a04FqK0yLwNW@"
        "2IS6LyT^zK6tqCM1X-gneCFq{d<I4Ss4_gV56@f<`a",
}  # fmt: skip


def frame() -> pd.DataFrame:
    return pd.DataFrame({
        "value": [np.arange(36).reshape(18, 2), -np.ones((18, 2), int), np.asfortranarray(np.eye(18)[:, :2])],
        "file_name": ["a.png", "b.png", "ö.PNG"],
        "frame_number": [3, 4, 5],
        "share": [0.5, 1.0, np.nan],
        "nested": [[1, 2], [], [np.int64(3)]],
    })  # fmt: skip


def read_back(path, stream: bytes):
    path = path / "f.pkl"
    path.write_bytes(stream)
    return read_frame(path)


@pytest.mark.parametrize("writer", WRITTEN_BY)
def test_frames_of_older_pandas_are_read(writer, tmp_path):
    stream = zlib.decompress(base64.b85decode(WRITTEN_BY[writer]))
    assert b"numpy.core" in stream or "2.2.3" in writer  # a module that is no longer called so
    names, values = read_back(tmp_path, stream)
    assert names == ["a.png", "b.png"]
    np.testing.assert_array_equal(values, [[[1, 2], [-1, -1]], [[3, 4], [250, 6]]])


CHOSEN = frame().iloc[[2, 0]][["share", "value", "file_name"]]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("table", [frame(), CHOSEN, frame().astype({"file_name": object})])
def test_frames_of_the_installed_pandas_are_read_however_they_are_cut(table, protocol, tmp_path):
    names, values = read_back(tmp_path, pickle.dumps(table, protocol))
    assert names == list(table["file_name"])
    np.testing.assert_array_equal(np.stack(values), np.stack(table["value"]))


class Calls:
    """Pickles as a call, as malicious files do."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def global_(module: str, name: str) -> bytes:
    """A name in protocol 2, whether it exists or not."""
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def attacks(marker) -> dict[str, bytes]:
    """Streams that would create the file `marker`, by the name that must be refused."""
    python = f"open({str(marker)!r}, 'w')"

    def call(module: str, name: str, argument: str) -> bytes:
        return b"\x80\x02" + global_(module, name) + text(argument) + b"\x85R."

    hidden = frame().astype({"nested": object})
    hidden.at[1, "nested"] = Calls(os.system, f"touch {marker}")
    inside = np.empty(2, object)
    inside[1] = Calls(eval, python)
    attribute = global_("builtins", "getattr") + global_("pandas", "DataFrame") + text("eval") + b"\x86R"
    dotted = b"\x80\x04" + text("pandas") + text("DataFrame.eval") + b"\x93."
    subclasses = b"\x80\x04" + text("numpy") + text("ndarray.__class__") + b"\x93."
    return {
        "posix.system": pickle.dumps(Calls(os.system, f"touch {marker}"), 4),
        "system": pickle.dumps(hidden, 5),
        "eval": pickle.dumps(pd.DataFrame({"value": inside}), 2),
        "__builtin__.exec": call("__builtin__", "exec", python),
        "numpy.load": call("numpy", "load", str(marker)),
        "pandas.read_pickle": call("pandas", "read_pickle", str(marker)),
        "builtins.getattr": b"\x80\x02" + attribute + text(python) + b"\x85R.",
        "pandas.DataFrame.eval": dotted,
        "numpy.ndarray.__class__": subclasses,
        "importlib.import_module": b"\x80\x02" + text("os") + b"(i" + b"importlib\nimport_module\n.",
    }


@pytest.mark.parametrize("name", list(attacks("x")))
def test_a_malicious_pickle_is_refused_by_name_and_not_run(name, tmp_path):
    with pytest.raises(UserError, match=rf"f.pkl is refused: it asks for \S*{name}, which no table"):
        read_back(tmp_path, attacks(tmp_path / "marker")[name])
    assert not (tmp_path / "marker").exists()


def test_the_attacks_are_real(tmp_path):
    """Without the restricted reader they do what they say."""
    pickle.loads(attacks(tmp_path / "marker")["system"])
    assert (tmp_path / "marker").exists()


OUTSIDE = b"\x80\x02" + text("a") + b"Q."
CHANGES_THE_STAND_IN = b"\x80\x02" + global_("pandas", "DataFrame") + b"}" + text("args") + text("x") + b"sb."
NO_FRAMES = [{"file_name": ["a.png"]}, None, np.ones(3), pd.DataFrame({"file_name": ["a.png"]}), frame()[["value"]]]
OBJECTS = pd.DataFrame({"file_name": ["a.png"], "value": [np.array([[1, "x"]], object)]})


@pytest.mark.parametrize("stream", [OUTSIDE, CHANGES_THE_STAND_IN, *map(pickle.dumps, [*NO_FRAMES, OBJECTS])])
def test_what_is_no_frame_of_names_and_numbers_is_refused(stream, tmp_path):
    with pytest.raises(UserError, match="cannot be read as a pickled pandas frame"):
        read_back(tmp_path, stream)


def test_nothing_of_pandas_is_made_while_reading():
    seen, left = set(), [FrameUnpickler(io.BytesIO(pickle.dumps(frame()))).load()]
    while left:
        item = left.pop()
        seen.add(type(item).__module__)
        if isinstance(item, Record):
            left += [*item.args, item.state]
        elif isinstance(item, list | tuple | dict):
            left += item.values() if isinstance(item, dict) else item
    assert seen == {"builtins", "ganseg.data.frames"}


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_truncated_file_gives_a_clear_error(protocol, tmp_path):
    whole = pickle.dumps(frame(), protocol)
    for length in range(0, len(whole), 97):
        with pytest.raises(UserError, match="cannot be read as a pickled pandas frame"):
            read_back(tmp_path, whole[:length])


def test_damaged_bytes_never_end_in_anything_but_a_clear_error(tmp_path):
    whole = np.frombuffer(pickle.dumps(frame(), 4), np.uint8)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = whole.copy()
        damaged[random.integers(len(whole), size=3)] = random.integers(256, size=3)
        try:
            read_back(tmp_path, damaged.tobytes())
        except UserError:
            refused += 1
    assert refused > 100
