"""The fast tokenizer of the embedded vision models: byte-level BPE, so that it can write any string."""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

PAD, START, END = "<pad>", "<start>", "<end>"
MERGED_SIZE = 512


def train_tokenizer(texts: Iterable[str], context_length: int) -> Tokenizer:
    """Learn merges from lower-cased texts; the end token has the highest id, where the text tower pools."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MERGED_SIZE,
        special_tokens=[PAD, START],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # Sorted and each text once: the merges depend on the set of texts alone.
    tokenizer.train_from_iterator(sorted(set(texts)), trainer)
    tokenizer.add_special_tokens([END])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (START, END)],
    )
    tokenizer.enable_truncation(context_length)
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id(PAD), pad_token=PAD, length=context_length)
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, context_length: int, folder: Path) -> None:
    """Write the two files that transformers' AutoTokenizer reads."""
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_length,
        "pad_token": PAD,
        "bos_token": START,
        "eos_token": END,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
