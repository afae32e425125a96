//! The functions of the running kernel, read line by line: the list has 10 MB.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
};

/// One line of `/proc/kallsyms` that names code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Function<'a> {
    /// 0 where the kernel hides addresses.
    pub(crate) address: u64,
    pub(crate) name: &'a str,
}

/// Shows every function of the kernel and its modules to `visit`.
pub(crate) fn each_function(visit: impl FnMut(Function<'_>)) -> io::Result<()> {
    each(
        BufReader::with_capacity(64 * 1024, File::open("/proc/kallsyms")?),
        visit,
    )
}

fn each(mut lines: impl BufRead, mut visit: impl FnMut(Function<'_>)) -> io::Result<()> {
    let mut line = String::new();
    while lines.read_line(&mut line)? != 0 {
        if let Some(function) = parse(&line) {
            visit(function);
        }
        line.clear();
    }
    Ok(())
}

fn parse(line: &str) -> Option<Function<'_>> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let is_code = matches!(words.next()?, "t" | "T" | "w" | "W");
    let name = words.next()?;
    is_code.then_some(Function { address, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_shown() {
        let text = "ffffffff81000000 T _stext\n0000000000000000 t hidden.isra.0\t[mod]\n\
                    ffffffff82000000 d data\nbroken\nffffffff81000010 W weak\nzz T bad\n";
        let mut seen = Vec::new();
        each(text.as_bytes(), |f| {
            seen.push((f.address, f.name.to_owned()));
        })
        .unwrap();
        let expected = [
            (0xffff_ffff_8100_0000, "_stext"),
            (0, "hidden.isra.0"),
            (0xffff_ffff_8100_0010, "weak"),
        ];
        assert_eq!(
            seen,
            expected.map(|(address, name)| (address, name.to_owned()))
        );
    }
}
