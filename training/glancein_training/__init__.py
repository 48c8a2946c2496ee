"""The laboratory: data, losses, networks, training and evaluation; PyTorch lives here and only here."""
