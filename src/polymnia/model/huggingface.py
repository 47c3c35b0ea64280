"""A checkpoint folder written anew: other dtype, other sharding, the same files beside the weights.

The result needs nothing else to run in transformers, vLLM or SGLang. Other architectures or quantised weights
are not covered.
"""

import json
import shutil
from pathlib import Path

from polymnia.model.checkpoint import DTYPES, load_checkpoint, save_checkpoint
from polymnia.model.digest import folder_digest
from polymnia.model.files import INDEX, read_object

_REWRITTEN = {"config.json", "card.json", INDEX}
_PAPERS = ("LICENSE", "NOTICE", "README")


def export_folder(folder: Path, out: Path, dtype: str | None, max_shard_bytes: int) -> str:
    """Writes into the existing folder `out`, weights in `dtype` (a key of DTYPES) or as stored; returns their digest.

    card.json gets the new digest; where that differs, `converted_from` holds the one its figures were measured on.
    """
    before, model = folder_digest(folder), load_checkpoint(folder, DTYPES[dtype] if dtype else None)
    save_checkpoint(model, out, max_shard_bytes=max_shard_bytes)
    for file in out.glob("*.safetensors"):  # safetensors leaves them to their owner alone
        file.chmod((out / "config.json").stat().st_mode)
    for file in sorted(folder.iterdir()):
        kept = file.suffix in {".json", ".jinja"} or file.name.startswith(_PAPERS)
        if file.is_file() and kept and file.name not in _REWRITTEN:
            shutil.copyfile(file, out / file.name)
    digest = folder_digest(out)
    if (folder / "card.json").is_file():
        _write_card(folder / "card.json", out / "card.json", before, digest)
    return digest


def _write_card(source: Path, target: Path, before: str, after: str) -> None:
    card = read_object(source) | {"weights_digest": after}
    if after != before:
        card.setdefault("converted_from", before)
    target.write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", encoding="utf-8")
