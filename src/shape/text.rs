//! The text form of a type: `f32[n, 3, 2*h] in unit`. It is what files hold; [`Display`](std::fmt::Display)
//! is for people and leaves `f32` out.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Dim, Type, display_shape};

impl Type {
    /// The dtype, the shape and the space, all of them written; [`FromStr`] reads it back.
    pub fn to_text(&self) -> String {
        let space = self.space.as_ref().map_or(String::new(), |s| format!(" in {s}"));
        format!("{}{}{space}", self.dtype, display_shape(&self.shape))
    }
}

impl FromStr for Type {
    type Err = String;

    fn from_str(text: &str) -> Result<Type, String> {
        let wrong = || format!("`{text}` is not a type such as `f32[n, 3]`");
        let (dtype, rest) = text.split_once('[').ok_or_else(wrong)?;
        let (shape, space) = rest.rsplit_once(']').ok_or_else(wrong)?;
        let dtype = dtype.trim().parse().map_err(|()| wrong())?;
        let shape = match shape.trim() {
            "" => Vec::new(),
            dims => dims.split(',').map(str::parse::<Dim>).collect::<Result<_, _>>()?,
        };
        let space = match space.trim() {
            "" => None,
            named => {
                let space = named.strip_prefix("in ").ok_or_else(wrong)?.trim();
                let letters = |c: char| c.is_alphanumeric() || c == '_';
                if !space.chars().all(letters) || space.chars().next().is_none_or(char::is_numeric) {
                    return Err(format!("`{space}` is not the name of a space"));
                }
                Some(space.into())
            }
        };
        Ok(Type { dtype, shape, space })
    }
}

impl Serialize for Type {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text())
    }
}

impl<'de> Deserialize<'de> for Type {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Type, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::DType;

    #[test]
    fn reads_back_what_it_writes() {
        for text in [
            "f32[]",
            "f32[n, 3]",
            "i64[2*h + 1, (n + 1) // 2] in unit",
            "bool[n*n - 1]",
            "f32[(-n) // 2, -n // 2]",
        ] {
            let ty: Type = text.parse().expect(text);
            assert_eq!(ty.to_text(), text);
        }
        assert_eq!("f32[]".parse(), Ok(Type::scalar(DType::F32)));
    }

    #[test]
    fn refuses_what_is_no_type() {
        for text in
            ["", "f32", "f33[n]", "f32[n", "f32[n,]", "f32[n] unit", "f32[n]]", "f32[n] in a\"", "f32[] in 1"]
        {
            assert!(text.parse::<Type>().is_err(), "{text}");
        }
    }
}
