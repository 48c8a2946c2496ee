"""One outside thing per file; each maps foreign errors to ours."""
