"""The text encoder's tokenizer: from a folder, or from a sentencepiece model by itself.

ComfyUI keeps the sentencepiece model inside the text encoder's file, as bytes.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import import_protobuf

from wanexp.strict import ConfigError
from wanexp.weights.contents import TOKENIZER, contents_of
from wanexp.weights.header import read_header, tensor_bytes

CONTROL, USER_DEFINED = 3, 4
"""Types of pieces that are taken whole, wherever they stand."""


def load_tokenizer(place: Path) -> PreTrainedTokenizerBase:
    """From a folder, a ``tokenizer.json``, a ``spiece.model`` or a text encoder's own file.

    Raises:
        ConfigError: There is no tokenizer in it.
    """
    if place.is_dir():
        return AutoTokenizer.from_pretrained(place)
    if place.suffix == ".json":
        return PreTrainedTokenizerFast(
            tokenizer_file=str(place), pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
        )
    if place.suffix == ".safetensors":
        key = contents_of(place, "model.text_encoder").tokenizer
        if key is None:
            raise ConfigError(f"model.tokenizer: {place.name} carries no {TOKENIZER}")
        entry = read_header(place, "model.text_encoder").tensors[key]
        return sentencepiece_tokenizer(tensor_bytes(place, entry))
    return sentencepiece_tokenizer(place.read_bytes())


def sentencepiece_tokenizer(model: bytes) -> PreTrainedTokenizerBase:
    """A T5 tokenizer of a sentencepiece model, as transformers makes one for UMT5.

    Characters that no piece has become the unknown token, as in the official code; ComfyUI spells
    them in bytes.
    """
    proto = getattr(import_protobuf(), "ModelProto")()  # noqa: B009  (its stubs do not name it)
    proto.ParseFromString(model)
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    spec = proto.trainer_spec
    pad, end, unknown = (pieces[max(0, i)][0] for i in (spec.pad_id, spec.eos_id, spec.unk_id))
    tokenizer = Tokenizer(Unigram(pieces, unk_id=spec.unk_id, byte_fallback=False))
    tokenizer.add_tokens(
        [
            AddedToken(piece.piece, normalized=False, special=piece.type == CONTROL)
            for piece in proto.pieces
            if piece.type in (CONTROL, USER_DEFINED)
        ]
    )
    charsmap = proto.normalizer_spec.precompiled_charsmap
    if charsmap:
        tokenizer.normalizer = normalizers.Precompiled(charsmap)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=["$A", end], special_tokens=[(end, spec.eos_id)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, eos_token=end, unk_token=unknown
    )
