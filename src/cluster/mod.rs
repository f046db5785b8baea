//! Members, packages and verbs of a cluster behind one trait; standalone until a cluster is there.
