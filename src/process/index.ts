// What the process room offers to the server.
export { createProcess, type ProcessStage, type ProcessStatus } from './process.ts';
