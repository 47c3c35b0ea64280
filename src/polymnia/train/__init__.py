"""Training: mixture, packing, optimizers, the loop with resume."""
