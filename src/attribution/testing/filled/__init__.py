"""The rows of a filled store as columns: who there is, their deals, and what partners did on these."""
