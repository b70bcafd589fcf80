//! The deeds on Linux: namespaces, netfilter, cgroups, processes
