"""What all tables of the catalog share. Times are UTC seconds since 1970 as floats."""

import sqlalchemy as sa

metadata = sa.MetaData()

# SQLite gives a rowid alias (and so a fast, growing key) to INTEGER PRIMARY KEY only.
BigKey = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
