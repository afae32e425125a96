//! Which program of an object is meant.

use model::Attach;

use crate::{Error, Object, Program, error::similar};

impl Object {
    /// The program that a request means: the one of that name, or without a name the only one
    /// whose section fits. In both cases the section does not contradict `attach`.
    pub fn choose(&self, name: Option<&str>, attach: &Attach) -> Result<&Program, Error> {
        let Some(name) = name else {
            return self.only_fitting(attach);
        };
        let program = self
            .programs()
            .iter()
            .find(|program| program.name() == name)
            .ok_or_else(|| Error::NoSuchProgram {
                name: name.to_owned(),
                similar: self.meant_by(name),
                programs: self
                    .programs()
                    .iter()
                    .map(|p| p.name().to_owned())
                    .collect(),
            })?;
        match attach.fits(program.section()) {
            Ok(()) => Ok(program),
            Err(misfit) => Err(Error::Misfit {
                program: program.name().to_owned(),
                section: program.section().to_owned(),
                kind: attach.kind(),
                misfit,
            }),
        }
    }

    fn only_fitting(&self, attach: &Attach) -> Result<&Program, Error> {
        let fitting: Vec<_> = self
            .programs()
            .iter()
            .filter(|program| attach.fits(program.section()).is_ok())
            .collect();
        match (fitting.as_slice(), self.programs()) {
            ([only], _) => Ok(only),
            ([], [only]) => self.choose(Some(only.name()), attach),
            ([], all) => Err(Error::NoneFits {
                kind: attach.kind(),
                programs: all
                    .iter()
                    .map(|program| (program.name().to_owned(), program.section().to_owned()))
                    .collect(),
            }),
            (several, _) => Err(Error::Ambiguous {
                kind: attach.kind(),
                candidates: several
                    .iter()
                    .map(|program| program.name().to_owned())
                    .collect(),
            }),
        }
    }

    /// A section name in place of the function's is the usual mix-up.
    fn meant_by(&self, name: &str) -> Option<String> {
        self.programs()
            .iter()
            .find(|program| program.section() == name)
            .map(|program| program.name().to_owned())
            .or_else(|| similar(name, self.programs().iter().map(Program::name)))
    }
}
