"""Tiny text encoders with random weights and a tokenizer of their own, in Hugging Face layout."""

from __future__ import annotations

from pathlib import Path

import torch

_TEXT = ["kids are talking by the door", "dogs are sitting by the door", "unbelievably"]
_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def tiny_bert(directory: Path, *, seed: int = 0, positions: int = 64) -> Path:
    """A BERT with WordPiece."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, BertTokenizerFast

    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=60, special_tokens=marks, show_progress=False)
    made.train_from_iterator(_TEXT, trainer)
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    BertTokenizerFast(tokenizer_object=made).save_pretrained(directory)
    made.save(str(directory / "tokenizer.json"))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=made.get_vocab_size(), max_position_embeddings=positions, **_SIZES
        )
        BertModel(config).save_pretrained(directory, safe_serialization=True)
    return directory


def tiny_roberta(directory: Path, *, seed: int = 0) -> Path:
    """A RoBERTa with byte-level BPE."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(_TEXT, trainer)
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    RobertaTokenizerFast(tokenizer_object=made, add_prefix_space=True).save_pretrained(directory)
    made.save(str(directory / "tokenizer.json"))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = RobertaConfig(
            vocab_size=made.get_vocab_size(), max_position_embeddings=64, pad_token_id=1, **_SIZES
        )
        RobertaModel(config).save_pretrained(directory, safe_serialization=True)
    return directory
