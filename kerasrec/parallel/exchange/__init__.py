"""The exchange of a training step: which rows ranks ask each other for, and what they send back."""
