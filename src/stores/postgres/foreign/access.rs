//! Reading and keeping another tool's history: what every one of them has in common.
