"""The text Transformer, fusion of encoder tokens at its input, and its Hugging Face form."""
