"""The face finder's laboratory: data, augmentation, network, training and evaluation."""
