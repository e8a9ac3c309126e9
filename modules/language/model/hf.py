"""Causal language models of Hugging Face, from a folder on this machine (extra `hf`).

A token is what its tokenizer writes it as: a value of a site must be exactly one token, `" the"` or
`"e"`. What is known of the tokens read is what the layers keep of them (keys and values), so that
texts with one beginning share it. Nothing is fetched, and nothing in a folder is run: weights are
read from safetensors alone.
"""

import inspect
import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake
from modules.language.model.causal import Causal, Known

REMEDY = "name a folder with config.json, model.safetensors and the files of its tokenizer"
KEPT = ("keys", "values")  # of the tokens read, in each layer


class HuggingFace(Causal):
    """`known`: the logits of the next token, then keys and values of each layer."""

    def __init__(self, model: Any, tokenizer: Any):
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.count = int(model.config.get_text_config().vocab_size)
        self.first = _first(model, tokenizer)
        taken = inspect.signature(model.forward).parameters
        self.cache = "cache" if "cache" in taken else "past_key_values"  # by its version
        self.longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if len(tokenizer) > self.count:
            told = f"its tokenizer has {len(tokenizer)} tokens, the model {self.count}"
            raise BadQuery(Mistake("weights", told, "put model and tokenizer of one kind together"))
        written = [tokenizer.decode([k]) for k in range(len(tokenizer))]
        self.pieces = (*written, *[""] * (self.count - len(tokenizer)))

    def spelled(self, text: str) -> list[int]:
        out = list(self.tokenizer.encode(text, add_special_tokens=False))
        if "".join(self.pieces[k] for k in out).strip() != text.strip():
            problem = f"{text!r} is not what its tokens are written as"
            raise BadQuery(Mistake("", problem, "give a text of the tokenizer's own letters"))
        return out

    def begin(self) -> Known:
        logs, known = self._passed(None, torch.tensor([[self.first]], device=self.model.device))
        return (logs[:, -1], *known)

    def _passed(
        self, known: Known | None, tokens: Tensor | None, x: Tensor | None = None
    ) -> tuple[Tensor, Known]:
        """ln p of the token after each of these, and keys and values of all so far. (B, T), or
        their embeddings (B, T, d) -> (B, T, V)"""
        from transformers import DynamicCache

        old = () if known is None else known
        pairs = [(old[k], old[k + 1]) for k in range(0, len(old), 2)]
        cache = DynamicCache(ddp_cache_data=pairs) if pairs else DynamicCache()
        asked = {"input_ids": tokens, "inputs_embeds": x, self.cache: cache}
        out = self.model(use_cache=True, **asked)
        every = [getattr(layer, name, None) for layer in cache.layers for name in KEPT]
        kept = [t for t in every if isinstance(t, Tensor)]
        if len(kept) < len(every):
            told = f"{type(self.model).__name__} keeps other things than keys and values"
            raise BadQuery(Mistake("weights", told, "name a model of full attention"))
        return out.logits.log_softmax(-1), tuple(kept)

    def following(self, known: Known) -> Tensor:
        return known[0]

    def read(self, known: Known, tokens: Tensor) -> Known:
        logs, more = self._passed(known[1:], tokens[:, None])
        return (logs[:, -1], *more)

    def losses(self, known: Known, tokens: Tensor) -> Tensor:
        logs = self._logs(known, tokens)
        return -logs.gather(-1, tokens[..., None])[..., 0]

    def _logs(self, known: Known, tokens: Tensor) -> Tensor:
        """ln p of every token at each place. (B, T) -> (B, T, V)"""
        if tokens.shape[1] < 2:
            return known[0][:, None][:, : tokens.shape[1]]
        logs, _ = self._passed(known[1:], tokens[:, :-1])
        return torch.cat([known[0][:, None], logs], 1)

    def relaxed(self, known: Known, x: Tensor) -> Tensor:
        if x.shape[1] < 2:
            return known[0][:, None][:, : x.shape[1]]
        weight = self.model.get_input_embeddings().weight
        logs, _ = self._passed(known[1:], None, x[:, :-1].to(weight.dtype) @ weight)
        return torch.cat([known[0][:, None], logs], 1)

    def places(self, known: Known, tokens: Tensor) -> tuple[Known, ...]:
        if not tokens.shape[1]:
            return (known,)
        logs, more = self._passed(known[1:], tokens)
        before = more[0].shape[2] - tokens.shape[1]
        return (
            known,
            *(
                (logs[:, k], *(t[:, :, : before + k + 1] for t in more))
                for k in range(tokens.shape[1])
            ),
        )


def _first(model: Any, tokenizer: Any) -> int:
    """The token that begins a text; that which ends one where there is no other."""
    for holder in (tokenizer, model.config):
        for name in ("bos_token_id", "eos_token_id"):
            token = getattr(holder, name, None)
            if isinstance(token, int):
                return token
    raise BadQuery(Mistake("weights", "has no token that begins or ends a text", REMEDY))


def load_folder(path: str) -> HuggingFace:
    """The model that lies in a folder. Raises BadQuery under `weights`."""
    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise BadQuery(Mistake("weights", f"{path} holds no config.json", REMEDY))
    stamp = max(f.stat().st_mtime_ns for f in folder.iterdir() if f.is_file())
    return _loaded(str(folder.resolve()), stamp)


@lru_cache(maxsize=2)
def _loaded(path: str, stamp: int) -> HuggingFace:
    del stamp  # of what was read
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError:
        raise BadQuery(
            Mistake("weights", f"{path} is a folder", "install the extra `hf`")
        ) from None
    level = logging.getLogger("transformers").level
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        local = {"local_files_only": True, "trust_remote_code": False}
        model = AutoModelForCausalLM.from_pretrained(
            path, use_safetensors=True, dtype=torch.float32, **local
        )
        tokenizer = AutoTokenizer.from_pretrained(path, **local)
    except (MemoryError, BadQuery):
        raise
    except Exception as error:  # what readers of broken folders may raise is not told anywhere
        said = str(error).strip().split("\n")[0][:200]
        raise BadQuery(Mistake("weights", f"{path}: {said}", REMEDY)) from None
    finally:
        logging.getLogger("transformers").setLevel(level)
    return _tried(HuggingFace(model, tokenizer))


@torch.no_grad()
def _tried(model: HuggingFace) -> HuggingFace:
    """The model, once it has read two tokens one after the other as it reads both at once."""
    tokens = torch.tensor([[model.first, model.first]])
    try:
        known = model.begin()
        known = model.read(model.read(known, tokens[:, 0]), tokens[:, 1])
        near = torch.allclose(known[0], model.places(model.begin(), tokens)[-1][0], atol=1e-3)
    except BadQuery:
        raise
    except Exception:  # what other kinds of models may raise is not told anywhere
        near = False
    if near:
        return model
    told = f"{type(model.model).__name__} does not go on from keys and values of what it read"
    raise BadQuery(Mistake("weights", told, "name a model of full attention"))
