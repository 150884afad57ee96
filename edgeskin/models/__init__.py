"""Mobile encoders, the decoder, heads, and the multi-task network made of them. Needs torch."""
