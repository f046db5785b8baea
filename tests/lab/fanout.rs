//! csshsetup, cexec and ccp between real hosts.
