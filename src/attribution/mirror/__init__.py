"""The mirror: every version of every CRM record this store has seen, one append-only log per object."""
