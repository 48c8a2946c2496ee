"""The SQLite file that the adapters share: opening, migrating, transactions."""
