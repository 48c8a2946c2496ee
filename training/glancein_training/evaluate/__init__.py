"""How good a set of embeddings is, whoever made them: one `.npz` in, one report out."""
