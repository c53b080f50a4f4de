//! Arrow across the border: a class of our own with the capsule methods that pyarrow, polars, duckdb and pandas know.
//!
//! No Python package is needed for it. A requested schema is honoured where the columns can be cast to it; where
//! they cannot, the data comes as it is, as the interface allows.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StructArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, SchemaRef};
use arrow::error::ArrowError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};
use pyo3_arrow::ffi::{ArrayIterator, to_array_pycapsules, to_schema_pycapsule, to_stream_pycapsule};

use super::wait;
use crate::error::{Error, Result};
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
        let mut batches = (self.open)();
        // The next batch is asked for by foreign C code, through which no panic may pass.
        let next = move || session::caught(|| batches.next().transpose()).transpose();
        let arrays = std::iter::from_fn(next).map(|batch| match batch {
            Ok(rows) => Ok(Arc::new(StructArray::from(rows)) as ArrayRef),
            Err(error) => Err(ArrowError::ExternalError(Box::new(error))),
        });
        Ok(to_stream_pycapsule(py, Box::new(ArrayIterator::new(arrays, self.field())), requested_schema)?)
    }

    /// All rows as one array.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let (open, schema) = (self.open.clone(), self.schema.clone());
        let whole = wait::for_look(py, move || {
            let batches = open().collect::<Result<Vec<_>>>()?;
            concat_batches(&schema, &batches).map_err(|error| Error::bug("batches of two schemas").because(error))
        })?;
        Ok(to_array_pycapsules(py, self.field(), &StructArray::from(whole), requested_schema)?)
    }
}
