//! Replaces single files of a FAT volume in an order that survives a cut at any sector write.
