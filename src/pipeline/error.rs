//! Mistakes in a pipeline file, shown where they stand.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::escape::line;
use crate::failure::{Exit, Explain};

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Bytes of the file it concerns.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What was probably meant.
    pub help: Option<String>,
}

/// A pipeline file that cannot be used.
#[derive(Debug)]
pub enum PipelineError {
    /// It cannot be read.
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A Prisma schema cannot be read.
    ReadSchema {
        /// Which file or folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A folder holds no Prisma schema.
    NoSchema {
        /// Which folder.
        path: PathBuf,
    },
    /// It holds mistakes: all that were found.
    Mistakes {
        /// Which file.
        path: PathBuf,
        /// Its text.
        text: String,
        /// At least one.
        mistakes: Vec<Mistake>,
    },
}

impl PipelineError {
    /// The mistakes with the lines they stand in.
    pub fn render(&self, color: bool) -> String {
        match self {
            Self::Read { .. } | Self::ReadSchema { .. } | Self::NoSchema { .. } => {
                format!("error: {self}")
            }
            Self::Mistakes { path, text, mistakes } => {
                let renderer = if color { Renderer::styled() } else { Renderer::plain() };
                let path = line(&path.display().to_string()).into_owned();
                let shown: Vec<String> = mistakes
                    .iter()
                    .map(|mistake| {
                        let message = line(&mistake.message).into_owned();
                        let snippet = Snippet::source(text.as_str())
                            .path(path.as_str())
                            .annotation(AnnotationKind::Primary.span(mistake.span.clone()));
                        let mut group: Group<'_> =
                            Level::ERROR.primary_title(message).element(snippet);
                        if let Some(help) = &mistake.help {
                            group = group.element(Level::HELP.message(line(help).into_owned()));
                        }
                        renderer.render(&[group])
                    })
                    .collect();
                shown.join("\n\n")
            }
        }
    }
}

impl fmt::Display for PipelineError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, .. } => {
                write!(formatter, "could not read pipeline file {}", path.display())
            }
            Self::ReadSchema { path, .. } => {
                write!(formatter, "could not read the Prisma schema {}", path.display())
            }
            Self::NoSchema { path } => {
                write!(
                    formatter,
                    "the folder {} holds no file that ends in .prisma",
                    path.display()
                )
            }
            Self::Mistakes { .. } => {
                formatter.write_str(self.render(false).trim_start_matches("error: "))
            }
        }
    }
}

impl std::error::Error for PipelineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } | Self::ReadSchema { source, .. } => Some(source),
            Self::NoSchema { .. } | Self::Mistakes { .. } => None,
        }
    }
}

impl Explain for PipelineError {
    fn has_layout(&self) -> bool {
        matches!(self, Self::Mistakes { .. })
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}
