"""`fit` on several ranks against one process with the same global batches: real ranks under horovodrun."""
