//! Arrow across the border: a class of our own with the capsule methods that pyarrow, polars, duckdb and pandas know.
//!
//! No Python package is needed for it. A requested schema is honoured where the columns can be cast to it; where
//! they cannot, the data comes as it is, as the interface allows. A value that the requested type cannot hold is an error.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StructArray};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};
use pyo3_arrow::PyField;
use pyo3_arrow::ffi::{ArrayIterator, to_array_pycapsules, to_schema_pycapsule, to_stream_pycapsule};

use super::wait;
use crate::error::{Error, Kind, Result};
use crate::pipeline::session;

type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// Rows in Arrow form; polars, pyarrow, duckdb and pandas take it as it is, any number of times.
#[pyclass(frozen, module = "foodstream")]
pub struct Rows {
    schema: SchemaRef,
    len: usize,
    open: Arc<dyn Fn() -> Batches + Send + Sync>,
}

impl Rows {
    pub fn new(schema: SchemaRef, len: usize, open: impl Fn() -> Batches + Send + Sync + 'static) -> Self {
        Rows { schema, len, open: Arc::new(open) }
    }

    pub fn held(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        let len = batches.iter().map(RecordBatch::num_rows).sum();
        Rows::new(schema, len, move || Box::new(batches.clone().into_iter().map(Ok)))
    }

    /// Record batches cross as structs, whose field carries the schema's metadata.
    fn field(&self) -> Arc<Field> {
        let (fields, metadata) = (self.schema.fields().clone(), self.schema.metadata().clone());
        Arc::new(Field::new_struct("", fields, false).with_metadata(metadata))
    }

    /// The requested field where the rows can be cast to it, otherwise their own.
    fn field_for(&self, requested: Option<Bound<'_, PyCapsule>>) -> PyResult<Arc<Field>> {
        let own = self.field();
        let Some(capsule) = requested else { return Ok(own) };
        let asked = PyField::from_arrow_pycapsule(&capsule)?.into_inner();
        let is_possible = can_cast_types(own.data_type(), asked.data_type());
        Ok(if is_possible { Arc::new(asked.as_ref().clone().with_metadata(own.metadata().clone())) } else { own })
    }
}

/// Arrow's own default would put a null where a value does not fit.
fn cast(rows: RecordBatch, to: &DataType) -> Result<ArrayRef> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&StructArray::from(rows), to, &strict)
        .map_err(|error| Error::new(Kind::Schema, format!("a value does not fit the requested schema: {error}")))
}

#[pymethods]
impl Rows {
    fn __len__(&self) -> usize {
        self.len
    }

    #[getter]
    fn columns(&self) -> Vec<&str> {
        self.schema.fields().iter().map(|field| field.name().as_str()).collect()
    }

    fn __repr__(&self) -> String {
        format!("Rows({} rows of {})", self.len, self.columns().join(", "))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        Ok(to_schema_pycapsule(py, self.schema.as_ref())?)
    }

    /// A new stream over all rows, in batches.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let field = self.field_for(requested_schema)?;
        let to = field.data_type().clone();
        let mut arrays = (self.open)().map(move |rows| cast(rows?, &to));
        // The next batch is asked for by foreign C code, through which no panic may pass.
        let next = move || session::caught(|| arrays.next().transpose()).transpose();
        let arrays =
            std::iter::from_fn(next).map(|array| array.map_err(|error| ArrowError::ExternalError(Box::new(error))));
        Ok(to_stream_pycapsule(py, Box::new(ArrayIterator::new(arrays, field)), None)?)
    }

    /// All rows as one array.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let (open, schema) = (self.open.clone(), self.schema.clone());
        let field = self.field_for(requested_schema)?;
        let to = field.data_type().clone();
        let whole = wait::for_look(py, move || {
            let batches = open().collect::<Result<Vec<_>>>()?;
            let whole = concat_batches(&schema, &batches);
            cast(whole.map_err(|error| Error::bug("batches of two schemas").because(error))?, &to)
        })?;
        Ok(to_array_pycapsules(py, field, &whole, None)?)
    }
}
