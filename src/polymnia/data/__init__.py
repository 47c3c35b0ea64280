"""Chat types, tokenizer, chat template and its parser, pictures."""
