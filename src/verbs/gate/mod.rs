//! `joulemark gate`, `compare` and `aa`.

mod render;
