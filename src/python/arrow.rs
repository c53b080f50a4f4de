//! Arrow across the border: classes of our own with the capsule methods that pyarrow, polars, duckdb and pandas know.
//!
//! No Python package is needed for it. A requested schema is honoured where the columns can be cast to it; where
//! they cannot, the data comes as it is, as the interface allows.

use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, RecordBatch, StructArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};
use pyo3_arrow::ffi::{ArrayIterator, to_array_pycapsules, to_schema_pycapsule, to_stream_pycapsule};

use super::{errors, slot, wait};
use crate::error::{Error, Result};

/// Rows in memory; may be read any number of times.
#[pyclass(frozen, module = "foodstream")]
#[derive(Debug)]
pub struct Rows {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Rows {
    pub fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Rows { schema, batches }
    }
}

#[pymethods]
impl Rows {
    fn __len__(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    fn __repr__(&self) -> String {
        format!("Rows({} rows of {})", self.__len__(), names(&self.schema))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        Ok(to_schema_pycapsule(py, self.schema.as_ref())?)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let batches = self.batches.clone().into_iter().map(Ok);
        stream(py, &self.schema, batches, requested_schema)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let whole = concat_batches(&self.schema, &self.batches).map_err(|error| failed(py, error))?;
        Ok(to_array_pycapsules(py, struct_field(&self.schema), &StructArray::from(whole), requested_schema)?)
    }
}

/// Rows on their way from files; may be read once.
#[pyclass(frozen, module = "foodstream")]
pub struct RowStream {
    schema: SchemaRef,
    batches: Mutex<Option<Batches>>,
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

impl RowStream {
    pub fn new(schema: SchemaRef, batches: Batches) -> Self {
        RowStream { schema, batches: Mutex::new(Some(batches)) }
    }
}

#[pymethods]
impl RowStream {
    fn __repr__(&self) -> String {
        format!("RowStream({})", names(&self.schema))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        Ok(to_schema_pycapsule(py, self.schema.as_ref())?)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let taken = slot::lock(&self.batches).take();
        let batches = taken.ok_or_else(|| errors::misuse(py, "this stream was read already; call read() again"))?;
        stream(py, &self.schema, batches, requested_schema)
    }
}

fn stream<'py>(
    py: Python<'py>,
    schema: &SchemaRef,
    mut batches: impl Iterator<Item = Result<RecordBatch>> + Send + 'static,
    requested_schema: Option<Bound<'py, PyCapsule>>,
) -> PyResult<Bound<'py, PyCapsule>> {
    // The next batch is asked for by foreign C code, through which no panic may pass.
    let next = move || wait::caught(|| batches.next().transpose()).transpose();
    let arrays = std::iter::from_fn(next).map(|batch| match batch {
        Ok(rows) => Ok(Arc::new(StructArray::from(rows)) as ArrayRef),
        Err(error) => Err(ArrowError::ExternalError(Box::new(error))),
    });
    Ok(to_stream_pycapsule(py, Box::new(ArrayIterator::new(arrays, struct_field(schema))), requested_schema)?)
}

/// Record batches cross as structs, whose field carries the schema's metadata.
fn struct_field(schema: &Schema) -> Arc<Field> {
    let fields: Fields = schema.fields().clone();
    Arc::new(Field::new_struct("", fields, false).with_metadata(schema.metadata().clone()))
}

fn names(schema: &Schema) -> String {
    schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ")
}

fn failed(py: Python<'_>, error: ArrowError) -> PyErr {
    errors::raise(py, &Error::bug("the batches of one micro-batch differ in their columns").because(error))
}
