use super::*;

#[test]
fn every_format_has_its_reader() {
    assert_eq!(READERS.map(|it| it.format), Format::ALL);
}
