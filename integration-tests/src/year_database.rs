//! A history file of one year with a thousand workers, made in minutes: the sink's own schema, filled with SQL in few
//! large transactions. The dashboard's benchmarks and anyone who wants to look at a full year read it.
