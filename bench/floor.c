/*
 * A native function that takes what bus_space_read_4 and bus_space_write_4 take, returns what they
 * return (a new int, or None), and does nothing: what is left of their time without it is theirs,
 * not the interpreter's.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyObject *
nothing(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
	(void)self;
	(void)args;
	if (count == 3)
		return PyLong_FromUnsignedLongLong(0xedcba987);
	if (count == 4)
		Py_RETURN_NONE;
	PyErr_SetString(PyExc_TypeError, "nothing(tag, handle, offset[, value])");
	return NULL;
}

static PyMethodDef methods[] = {
	{"nothing", (PyCFunction)(void (*)(void))nothing, METH_FASTCALL, NULL},
	{NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "floor", .m_methods = methods};

PyMODINIT_FUNC
PyInit_floor(void)
{
	return PyModule_Create(&module);
}
