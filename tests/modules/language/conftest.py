"""Small language models, made for the tests."""

import pytest
import torch

from modules.language.model.model_file import write_model
from modules.language.model.network import CharacterNet

LETTERS = tuple(" .abcdefghijklmnopqrstuvwxyz")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> str:
    """The file of a character model that knows nothing."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    net = CharacterNet(LETTERS, 8, 16, generator=torch.Generator().manual_seed(0), recalls=64)
    with torch.no_grad():
        net.outward *= 8  # as if it had opinions
    write_model(path, net, "made for a test")
    return str(path)


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> str:
    """The folder of a causal language model of Hugging Face, with a tokenizer of letters."""
    pytest.importorskip("transformers")
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("hf")
    vocabulary = {letter: k for k, letter in enumerate((*LETTERS, "<s>", "<unk>"))}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    plain.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>", unk_token="<unk>")
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(vocabulary), n_positions=24, n_embd=16, n_layer=2, n_head=2,
        bos_token_id=vocabulary["<s>"], eos_token_id=vocabulary["<s>"],
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for p in model.parameters():
            p *= 4 if p.dim() > 1 else 1
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)
