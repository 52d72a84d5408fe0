"""Everything that talks to the CRM: what to read, how to read it completely, and into what types."""
