"""Text to token ids and back: byte-level BPE with Muse's special tokens, trained here or read from a folder.

The split is qwen2's (words, single digits, punctuation runs), so llama.cpp and transformers both know
it. There is no Unicode normalisation: every text comes back exactly as it went in. The 64 board
cells `a1`..`h8` and the pieces of tool-call markup are single tokens wherever they stand, inside a word
as well; a space before a cell is a token of its own (" b3" is two tokens), so a cell has one embedding.
Of these tokens none ends as another begins, because where two overlap transformers takes the first and
llama.cpp the longest. The chat format is `data.template`'s.
"""

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from polymnia.errors import InputError

BEGIN_OF_TEXT = "<|begin_of_text|>"
END_OF_TEXT = "<|end_of_text|>"
PAD = "<|pad|>"
START = "<|start|>"
MESSAGE = "<|message|>"
EOM = "<|eom|>"
EOT = "<|eot|>"
IMAGE_START = "<|image_start|>"
PATCH = "<|patch|>"
IMAGE_END = "<|image_end|>"
SPECIAL_TOKENS = (BEGIN_OF_TEXT, END_OF_TEXT, PAD, START, MESSAGE, EOM, EOT, IMAGE_START, PATCH, IMAGE_END)

CELLS = tuple(f"{column}{row}" for column in "abcdefgh" for row in range(1, 9))
TOOLS = ("crop", "mark", "measure", "rotate", "python")
"""Whose markup is single tokens; any other tool's is written out."""
MARKUP = (
    "<atem:function_calls>\n",
    "</atem:function_calls>",
    *(f'<atem:invoke name="{tool}">\n' for tool in TOOLS),
    *(f'<atem:parameter name="{name}">' for name in ("image", "x0", "y0", "x1", "y1", "label", "degrees", "code")),
    "</atem:parameter>\n",
    "</atem:invoke>\n",
    *(f'<tool_output name="{tool}">\n' for tool in TOOLS),
    "</tool_output>",
)

QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Word for word from transformers' `tokenization_qwen2.py`: llama.cpp's converter recognises it by its effect."""

_UNKNOWN = "\ufffd".encode()
"""Embeddings are padded to round sizes, so a model can emit ids that no token has."""


class Tokenizer:
    """Encoding and decoding with the ids that the rest of the code needs by name."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._literal = Backend.from_str(backend.to_str())
        self._literal.encode_special_tokens = True
        self._bytes = _token_bytes(backend)
        self.special_ids = {name: self.token_id(name) for name in SPECIAL_TOKENS}
        self.begin_id = self.special_ids[BEGIN_OF_TEXT]
        self.end_id = self.special_ids[END_OF_TEXT]
        self.pad_id = self.special_ids[PAD]
        self.start_id = self.special_ids[START]
        self.message_id = self.special_ids[MESSAGE]
        self.eom_id = self.special_ids[EOM]
        self.eot_id = self.special_ids[EOT]
        self.image_start_id = self.special_ids[IMAGE_START]
        self.patch_id = self.special_ids[PATCH]
        self.image_end_id = self.special_ids[IMAGE_END]
        self.special_names = {token: name for name, token in self.special_ids.items()}

    @classmethod
    def from_folder(cls, folder: Path) -> "Tokenizer":
        """Reads `tokenizer.json`; raises InputError when it is missing, broken or lacks a Muse token."""
        path = Path(folder) / "tokenizer.json"
        if not path.is_file():
            raise InputError(f"{path} does not exist; give the folder of a checkpoint.")
        try:
            backend = Backend.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            reason = str(error).partition("\n")[0]
            raise InputError(f"{path} is no tokenizer ({reason}): copy it again, or export the model again") from None
        try:
            return cls(backend)
        except InputError as error:
            raise InputError(f"{path} does not fit ({error}): take the tokenizer of this checkpoint") from None

    @property
    def vocab_size(self) -> int:
        """Number of ids; the embedding needs at least so many rows."""
        return len(self._bytes)

    def token_id(self, name: str) -> int:
        found: int | None = self.backend.token_to_id(name)
        if found is None:
            raise InputError(f"the tokenizer has no token {name!r}, so it does not speak the Muse format")
        return found

    def encode(self, text: str, *, specials: bool = False) -> list[int]:
        """Ids of a text. `<|eot|>` and its like are plain characters unless `specials` is true.

        Nothing that comes from outside may be encoded with `specials`: it could end a turn.
        """
        backend = self.backend if specials else self._literal
        try:
            ids: list[int] = backend.encode(text, add_special_tokens=False).ids
        except TypeError:  # half of a surrogate pair has no UTF-8: it becomes U+FFFD
            whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            ids = backend.encode(whole, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids, special tokens by their names, broken UTF-8 and ids beyond the vocabulary as U+FFFD."""
        known = self._bytes
        return b"".join([known[i] if i < len(known) else _UNKNOWN for i in ids]).decode("utf-8", "replace")

    def stream(self) -> "TokenStream":
        return TokenStream(self._bytes)

    def save(self, folder: Path, chat_template: str) -> None:
        """Writes tokenizer.json, tokenizer_config.json and chat_template.jinja as transformers reads them."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.backend.save(str(folder / "tokenizer.json"))
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "processor_class": "MuseGlimmerProcessor",
            "add_bos_token": False,
            "add_eos_token": False,
            "bos_token": BEGIN_OF_TEXT,
            # The end of a turn, so that an engine which reads one end token only stops where it must.
            "eos_token": EOT,
            "pad_token": PAD,
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": 131072,
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")


class TokenStream:
    """Decodes ids one at a time; a character split between tokens waits for its last byte."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        return self._decoder.decode(self._bytes[token] if token < len(self._bytes) else _UNKNOWN)

    def close(self) -> str:
        """What is left of an unfinished character; the stream may go on afterwards."""
        return self._decoder.decode(b"", True)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Backend:
    """Byte-level BPE of `vocab_size` ids in all: bytes, merges, special tokens, cells, markup, in this order.

    `texts` may be rendered conversations: whatever is a token of its own is cut out before merges are
    counted. Fewer ids come out when the texts are too few for so many merges.
    """
    fixed = (*SPECIAL_TOKENS, *MARKUP, *CELLS)
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(fixed),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    backend.train_from_iterator(_without_fixed(texts), trainer)
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL_TOKENS])
    backend.add_tokens([AddedToken(name, normalized=False) for name in MARKUP])
    # Not bound to whole words, which llama.cpp cannot express: the "a1" of "sha1" is a cell too.
    backend.add_tokens([AddedToken(name, normalized=False) for name in CELLS])
    return backend


def _without_fixed(texts: Iterable[str]) -> Iterator[str]:
    splitter = re.compile("|".join(re.escape(name) for name in (*SPECIAL_TOKENS, *MARKUP)))
    for text in texts:
        yield from (piece for piece in splitter.split(text) if piece)


def _token_bytes(backend: Backend) -> list[bytes]:
    """The bytes behind each id: added tokens by their content, others through GPT-2's byte alphabet."""
    added = {token: added.content for token, added in backend.get_added_tokens_decoder().items()}
    table = _byte_alphabet()
    size = backend.get_vocab_size(with_added_tokens=True)
    pieces: list[bytes] = []
    for token in range(size):
        if token in added:
            pieces.append(added[token].encode("utf-8"))
        else:
            piece = backend.id_to_token(token) or ""
            if not table.keys() >= set(piece):
                raise InputError(f"token {piece!r} is not byte-level")
            pieces.append(bytes(table[character] for character in piece))
    return pieces


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in for each byte: itself where printable, else the next free letter from U+0100."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}
