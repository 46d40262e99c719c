//! Portcullis beside nginx, HAProxy and bare Pingora: the same request, the same upstream, the same core, one after the
//! other again and again. It gives numbers; what they must be is written in `docs/performance.md`.

pub mod contestant;
pub mod idle;
pub mod load;
pub mod process;
pub mod scenario;
pub mod table;
pub mod upstream;
